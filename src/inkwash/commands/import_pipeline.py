"""`inkwash import`: make a run directory of a diffusers DDPM pipeline."""

from omegaconf import DictConfig

from inkwash.commands.export import one_sentence
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.runs.directory import RUNS, safe_name


def import_(config: DictConfig) -> None:
    """Make runs/RUN and say how to draw from it."""
    with one_sentence():
        check(config)
        directory = RUNS / safe_name("run", config.run)
        from inkwash.interop.pipeline import import_diffusers  # torch, which a misspelt key need not wait for

        import_diffusers(config.folder, directory, config.num_classes)
    print(f"{directory}    next: make sample run={directory} num_images=64")


def main() -> None:
    cli.run(import_, "import")
