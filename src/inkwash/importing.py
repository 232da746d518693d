"""python -m inkwash.importing folder=PATH run=NAME: a run directory of a diffusers DDPM pipeline."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from inkwash import command, rundir
from inkwash.check import check
from inkwash.export import one_sentence


@dataclass
class Import:
    """conf/import.yaml."""

    folder: str = MISSING
    run: str = MISSING
    num_classes: int | None = None


ConfigStore.instance().store(name="import_schema", node=Import)


def import_(config: DictConfig) -> None:
    """Make runs/RUN and say how to draw from it."""
    with one_sentence():
        check(config)
        directory = rundir.RUNS / rundir.safe_name("run", config.run)
        from inkwash.interchange import import_diffusers  # torch, which a misspelt key need not wait for

        import_diffusers(config.folder, directory, config.num_classes)
    print(f"{directory}    next: make sample run={directory} num_images=64")


def main() -> None:
    command.run(import_, "import")


if __name__ == "__main__":
    main()
