"""python -m inkwash.sample run=DIR [overrides]: draw or edit images with a run, in a process of its own."""

import math
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from inkwash import command, launch, rundir, schema
from inkwash.check import check
from inkwash.cluster import find_place
from inkwash.errors import UserError, user_error
from inkwash.rundir import find_run

schema.register()


def sample(config: DictConfig) -> None:
    """Write OUT/grid.png and OUT/images/000000.png, ..., and say where."""
    try:
        check(config)
        if find_place() is not None:
            raise UserError("sample draws in a process of its own: run it once, without torchrun or srun")
        directory = find_run(config.run)
        if min(config.num_images, config.batch_size) < 1:
            raise UserError(f"num_images={config.num_images} and batch_size={config.batch_size} must be at least 1")
        if config.columns is not None and config.columns < 1:
            raise UserError(f"columns={config.columns} must be at least 1, or null")
        if config.guidance is not None and not math.isfinite(config.guidance):
            raise UserError(f"guidance={config.guidance} must be a finite number")
        choices = HydraConfig.get().runtime.choices
        name = f"{choices['task']}-{choices['sampler']}-{config.spacing.steps}steps-seed{config.seed}"
        out = out_directory(config.out) if config.out else rundir.new_directory(directory / "samples", name)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain["run"] = str(directory.resolve())
        rundir.write_text(out / "sample.yaml", OmegaConf.to_yaml(plain))
    except (UserError, OSError) as error:
        print(f"error: {user_error(error) or error}", file=sys.stderr)
        sys.exit(1)
    if status := launch.start("inkwash.draw", out, config.trainer.accelerator, 1):
        sys.exit(launch.exit_code(status))
    print(f"{out}/grid.png    and {len(list((out / 'images').iterdir()))} images in {out}/images")


def out_directory(name: str) -> Path:
    """out=, made where it is not; what was drawn there before is replaced, but nobody else's images."""
    out = Path(name)
    if (out / "images").exists() and not (out / "sample.yaml").is_file():
        raise UserError(f"out={out} has images that were not drawn there: choose another folder")
    return rundir.make_folder("out", out)


def main() -> None:
    command.run(sample, "sample")


if __name__ == "__main__":
    main()
