"""Hydra finds our sweepers and launchers, and they are imported only for a sweep."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf
from optuna.samplers import TPESampler

from hydra_plugins.inkwash.slots import SlotsLauncher
from hydra_plugins.inkwash.study import OptunaSweeper
from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from support.sweeps import run

CHOICES = [(group, path.stem) for group in ("launcher", "sweeper")
           for path in sorted((Path(config_dir()) / group).glob("*.yaml"))]  # fmt: skip


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_is_a_plugin_that_takes_its_settings(group, choice, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with initialize_config_dir(config_dir(), version_base="1.3"):
        config = compose("train", [f"{group}={choice}", "hydra.job.name=train"], return_hydra_config=True)
    assert isinstance(
        Plugins.instance()._instantiate(config.hydra[group]), Launcher if group == "launcher" else Sweeper
    )


MISTAKES = {
    "run=x seed=1,2": "run=x names one run: a sweep of several is named by sweep=x",
    "schedule=linear,cosin": "Available options in 'schedule'",
    "seed=1,2 launcher=joblib": "launcher=joblib would run all jobs on the same GPUs: pass launcher=gpus",
    "seed=1,2 launcher=gpus trainer.devices=2": "pass hydra.launcher.gpus_per_job=2",
    "optimizer.lr=interval(1e-4,1e-2)": "lists no values: list some, or pass sweeper=optuna",
    "seed=1 sweeper=optuna": "has nothing to vary",
    "seed=1,2 sweeper=optuna hydra.sweeper.direction=up": "direction=up minimize or maximize",
    "schedule=linear,cosin sweeper=optuna": "Available options in 'schedule'",
}


def test_settings_of_launcher_and_sweeper_are_named(tmp_path):
    for gpus in (5, "abc", {"a": 1}):
        with pytest.raises(UserError, match="hydra.launcher.gpus=.* must be auto or a list of GPUs"):
            SlotsLauncher(None, gpus, 1).slots()
    assert len(SlotsLauncher(None, OmegaConf.create([0, 1]), 1).slots()) == 2
    with pytest.raises(UserError, match=r"hydra.sweeper.seed=-1 must be at least 0"):
        OptunaSweeper(1, None, None, -1, 1, None, TPESampler)
    sweeper = OptunaSweeper(1, None, None, 0, 1, None, TPESampler)
    sweeper.hydra_context = SimpleNamespace(config_loader=None)
    with pytest.raises(UserError, match="run=a,b names runs: .* sweep=NAME"):
        sweeper.parse(["seed=1,2", "run=a,b"])


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.items())
def test_sweeps_that_cannot_work_end_before_they_begin(arguments, sentence, tmp_path):
    result = run(*arguments.split(), cwd=tmp_path, module="inkwash.train", CUDA_VISIBLE_DEVICES="0,1")
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.csv"))


def test_plain_commands_import_no_sweeper():
    code = (
        "import sys, inkwash.train; from hydra.core.plugins import Plugins; Plugins.instance();"
        "print([m for m in ('torch', 'optuna', 'ray', 'joblib', 'submitit', 'numpy', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
