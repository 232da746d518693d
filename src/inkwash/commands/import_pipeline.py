"""`inkwash import folder=PATH run=NAME`: make a run directory from a diffusers pipeline."""

from omegaconf import DictConfig

from inkwash.commands.export import one_sentence
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.runs.directory import RUNS
from inkwash.runs.names import safe_name


def import_(config: DictConfig) -> None:
    """Make runs/RUN and print how to sample from it."""
    with one_sentence():
        check(config)
        directory = RUNS / safe_name("run", config.run)
        # It imports torch: only after the configuration is checked.
        from inkwash.interop.pipeline_import import import_diffusers

        import_diffusers(config.folder, directory, config.num_classes)
    print(f"{directory}    next: make sample run={directory} num_images=64")


def main() -> None:
    cli.run(import_, "import")
