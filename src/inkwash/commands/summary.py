"""`inkwash summary ...`: show layers, operations and memory of what `inkwash train ...` would train."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.commands.auto_keys import check_shape, with_stand_ins
from inkwash.commands.export import one_sentence
from inkwash.commands.preparation import find_data
from inkwash.config import cli
from inkwash.config.validate import check_training
from inkwash.launch.start import exit_code, start
from inkwash.runs.command_line import from_run
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory


def describe(config: DictConfig, job: str, more: dict[str, Any]) -> None:
    """Run a job that prints what would be trained, without a run directory.

    Args:
        job: module:function.
        more: keys of its configuration beside those of the training.
    """
    with one_sentence(), tempfile.TemporaryDirectory() as folder:
        check_shape(config)
        check_training(with_stand_ins(config))
        find_data(config, None, None)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        run = RunDirectory(Path(folder))
        run.write_config({key: value for key, value in plain.items() if key not in OF_THE_LAUNCH} | more)
        if status := start(job, run.config_path, "cpu", 1):
            sys.exit(exit_code(status))


def main() -> None:
    with one_sentence():
        sys.argv[1:] = from_run(sys.argv[1:])
    cli.run(lambda config: describe(config, "inkwash.jobs.layers:show", {}), "train")
