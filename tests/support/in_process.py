"""The commands in this process: `Commands(place)("train", "run=a")` is `inkwash train run=a` in a folder.

Left out is what takes most of a small job's time: the start of processes, for what ranks do is done here, and that
Hydra composes twice, the first time to learn whether it is a sweep.
"""

import contextlib
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode

from inkwash.__main__ import COMMANDS
from inkwash.commands import data as data_command
from inkwash.commands import encode as encode_command
from inkwash.commands import evaluate as evaluate_command
from inkwash.commands import report as report_command
from inkwash.commands import sample as sample_command
from inkwash.commands import summary as summary_command
from inkwash.commands import train as train_command
from inkwash.errors import user_error
from inkwash.jobs import data, encode, evaluate, layers, plan, report, sample, train

JOBS: dict[str, Callable[[Path], Any]] = {
    "inkwash.jobs.train:train": train.train,
    "inkwash.jobs.sample:sample": sample.sample,
    "inkwash.jobs.data:describe": data.describe,
    "inkwash.jobs.encode:encode": encode.encode,
    "inkwash.jobs.evaluate:evaluate": evaluate.evaluate,
    "inkwash.jobs.report:draw": report.draw,
    "inkwash.jobs.layers:show": layers.show,
    "inkwash.jobs.plan:show": plan.show,
}
STARTING = (
    train_command, sample_command, evaluate_command, data_command, encode_command, report_command, summary_command,
)  # fmt: skip


@dataclass
class Ended:
    """How a command ended, and what it wrote to both streams."""

    code: int
    text: str

    @property
    def error(self) -> str:
        """The sentence of a command that ended with one, on one line; "" if it worked."""
        if self.code == 0:
            return ""
        assert self.code == 1, self.text
        said = [line for line in self.text.splitlines() if line.startswith("error: ")]
        assert len(said) == 1, self.text
        assert "Traceback" not in self.text
        return said[0]


class Commands:
    """Runs commands in the folder `place`. An exception that is no mistake of a user's comes out as it is."""

    def __init__(self, place: Path):
        self.place = place

    def __call__(self, command: str, *arguments: str) -> Ended:
        main = importlib.import_module(f"inkwash.commands.{COMMANDS[command][0]}").main
        before = (
            sys.argv,
            os.getcwd(),
            train_command.start,
            Hydra.get_mode,
            logging.root.handlers[:],
            logging.root.level,
        )
        passed_on = {name: os.environ.get(name) for name in ("INKWASH_CONF", "PYTHONPATH")}
        said, code = io.StringIO(), 0
        sys.argv, logging.root.handlers = [f"inkwash {command}", *arguments], []
        for module in STARTING:
            module.start = _start
        Hydra.get_mode = lambda *_, **__: RunMode.RUN
        os.chdir(self.place)
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                main()
        except SystemExit as end:
            if isinstance(end.code, str):
                said.write(end.code + "\n")
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.argv, folder, start, Hydra.get_mode, logging.root.handlers, level = before
            for module in STARTING:
                module.start = start
            os.environ.update({name: value or "" for name, value in passed_on.items()})
            logging.root.setLevel(level)
            os.chdir(folder)
        return Ended(code, said.getvalue())


def _start(job: str, config: Path, *_: Any, **__: Any) -> int:
    """launch.start.start with one rank in this process, which reports a user's mistake in one sentence."""
    directory = config.parent
    (directory / "error.txt").unlink(missing_ok=True)
    try:
        JOBS[job](directory)
    except Exception as error:
        if (mistake := user_error(error)) is None:
            raise AssertionError(f"{job} ends in a traceback") from error
        print(f"\nerror: {mistake}", file=sys.stderr)  # a bar may stand on the line
        (directory / "error.txt").write_text(f"error: {mistake}\n", "utf-8")
        return 1
    return 0
