"""Download a run directory from the Hugging Face hub."""

from pathlib import Path

from inkwash.errors import UserError


def snapshot(name: str) -> Path:
    """Return the folder of a repository USER/NAME, or USER/NAME@REVISION, that holds a run directory.

    The hub's own cache keeps it: it is downloaded once, and found without a network from then on.

    Raises:
        UserError: huggingface_hub is not installed, the hub cannot be reached, or it has no such run.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise UserError(f"hf:{name} needs the package huggingface_hub: pip install 'inkwash[hub]'") from error
    repository, _, revision = name.partition("@")
    wanted = ["config.yaml", "run.json", "checkpoints/*.ckpt", "autoencoder/*"]
    try:
        folder = Path(huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"hf:{name}: the Hugging Face hub cannot be reached, and it was not downloaded before"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"hf:{name} cannot be downloaded from the Hugging Face hub: {reason}") from error
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"hf:{name} holds no run directory, which has config.yaml and checkpoints/: a pipeline of diffusers is "
            "downloaded first, then made a run by `inkwash import folder=PATH run=NAME`"
        )
    return folder
