"""Start a sweep of jobs that take no time, and read what it leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import optuna

from inkwash.sweeps.trial import open_storage

ROOT = Path(__file__).parents[2]


LOG_LR = "optimizer.lr=tag(log,interval(1e-5,1e-1))"


def run(*arguments, cwd, module="support.fast_jobs", timeout=100, **environment):
    """A sweep of quick jobs, as `make sweep` starts one of trainings."""
    return subprocess.run(
        [sys.executable, "-m", module, "--multirun", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), **environment},
    )  # fmt: skip


def jobs(directory):
    """Summaries by the name of the job's directory."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(directory.glob("*/summary.json"))}


def states(directory):
    return {path.parent.name: json.loads(path.read_text())["state"] for path in sorted(directory.glob("*/status.json"))}


def study(directory):
    """The trials of a sweep's study."""
    storage = open_storage(str(directory / "study.journal"))
    return optuna.load_study(study_name=directory.name, storage=storage).get_trials()
