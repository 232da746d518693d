"""`inkwash data data=NAME data.path=PATH`: describe a data set, without training (jobs/data.py)."""

import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.commands.auto_data import find
from inkwash.commands.auto_keys import check_shape, with_stand_ins
from inkwash.commands.output import output_folder
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError, user_error
from inkwash.files import write_text
from inkwash.launch.environment import RankEnv
from inkwash.launch.report import say
from inkwash.launch.start import exit_code, start
from inkwash.runs.directory import RUNS
from inkwash.runs.names import new_directory, stamp

FILES = ("report.json", "grid.png")  # what is written beside data.yaml


def data(config: DictConfig) -> None:
    """Print what a data set is, and write OUT/report.json and OUT/grid.png, images as the network sees them."""
    try:
        check_shape(config)
        check(with_stand_ins(config))
        for line in find(config):
            say(line)
        check(config)
        if RankEnv.given() is not None:
            raise UserError("data looks at images in a process of its own: run it once, without torchrun or srun")
        plain: Any = OmegaConf.to_container(config, resolve=True)
        folder = RUNS / "data"
        out = output_folder(config.out, "data.yaml", FILES) if config.out else new_directory(folder, stamp())
        write_text(out / "data.yaml", OmegaConf.to_yaml(plain))
    except (UserError, OSError) as error:
        print(f"error: {user_error(error) or error}", file=sys.stderr)
        sys.exit(1)
    if status := start("inkwash.jobs.data:describe", out / "data.yaml", "cpu", 1):
        sys.exit(exit_code(status))
    say(f"{out}/grid.png    images as the network sees them; {out}/report.json")


def main() -> None:
    cli.run(data, "data")
