"""`inkwash data data=NAME data.path=PATH`: describe a data set, without training (jobs/data.py)."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.data.peek import advice
from inkwash.errors import UserError, user_error
from inkwash.files import make_folder, write_text
from inkwash.launch.environment import RankEnv
from inkwash.launch.report import say
from inkwash.launch.start import exit_code, start
from inkwash.runs.directory import RUNS, new_directory, stamp


def check_shape(config: DictConfig) -> None:
    """Raise UserError that suggests a shape if data.shape has no value but data.path has images."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    data = plain.get("data")
    shape: Any = data.get("shape") if isinstance(data, dict) else None
    if _channels_last(shape):
        raise UserError(
            f"data.shape={shape} is [channels, height, width]: channels come first, data.shape={[shape[2], *shape[:2]]}"
        )
    if not isinstance(data, dict) or data.get("shape") != "???" or data.get("path") in ("???", None):
        return
    if found := advice(str(OmegaConf.select(config, "data.path"))):
        raise UserError(f"data.shape has no value yet: {found}")


def _channels_last(shape: Any) -> bool:
    """Tell whether a shape looks like [height, width, channels]."""
    numbers = isinstance(shape, list) and len(shape) == 3 and all(isinstance(size, int) for size in shape)
    return numbers and shape[2] in (1, 3, 4) and min(shape[:2]) > 4


def data(config: DictConfig) -> None:
    """Print what a data set is, and write OUT/report.json and OUT/grid.png, images as the network sees them."""
    try:
        check_shape(config)
        check(config)
        if RankEnv.given() is not None:
            raise UserError("data looks at images in a process of its own: run it once, without torchrun or srun")
        plain: Any = OmegaConf.to_container(config, resolve=True)
        folder = RUNS / "data"
        out = make_folder("out", Path(config.out)) if config.out else new_directory(folder, stamp())
        write_text(out / "data.yaml", OmegaConf.to_yaml(plain))
    except (UserError, OSError) as error:
        print(f"error: {user_error(error) or error}", file=sys.stderr)
        sys.exit(1)
    if status := start("inkwash.jobs.data:describe", out / "data.yaml", "cpu", 1):
        sys.exit(exit_code(status))
    say(f"{out}/grid.png    images as the network sees them; {out}/report.json")


def main() -> None:
    cli.run(data, "data")
