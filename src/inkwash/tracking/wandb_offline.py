"""Offline records of Weights & Biases (W&B), by their files: wandb is not imported."""

from pathlib import Path


def records(directory: str | Path) -> list[Path]:
    """Return a run's offline records that have not been uploaded, oldest first: of each start, evaluation, sampling."""
    folders = (f"{parent}wandb/offline-run-*" for parent in ("", "evaluations/*/", "samples/*/"))
    paths = sorted((path for folder in folders for path in Path(directory).glob(folder)), key=lambda path: path.name)
    return [record for record in paths if not list(record.glob("*.wandb.synced"))]


def sync_command(directory: str | Path) -> str | None:
    """Return the command that uploads the run's offline records, or None if there are no such records."""
    paths = records(directory)
    return f"wandb sync {' '.join(map(str, paths))}" if paths else None


def default_entity() -> str:
    """Return the entity whose projects the API key opens."""
    import wandb  # takes a second

    return str(wandb.Api().default_entity)
