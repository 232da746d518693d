"""Keys of services and passwords never reach a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict, read_write

from hydra_plugins.inkwash.study import OptunaSweeper
from inkwash.commands import dashboard, evaluate, export, import_pipeline, report, sample, sync, train
from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.jobs.train import train as fit
from inkwash.sweeps import plan

STEPS = ("trainer.max_steps=2", "callbacks.checkpoint.every_n_steps=2")
SECRET = "0123456789abcdef0123456789abcdef01234567"


def test_no_file_of_a_run_holds_an_api_key(new_run, monkeypatch, capfd):
    for name in ("WANDB_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    directory = new_run("run", *STEPS, "logger=wandb", "logger.wandb.mode=offline")
    fit(directory)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert any(path.suffix == ".ckpt" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in "".join(capfd.readouterr())


def test_an_api_key_in_the_configuration_is_refused(tmp_path):
    command = [sys.executable, "-m", "inkwash.train", "logger=wandb", "run=x"]
    for argument in ("logger.wandb.name=${oc.env:WANDB_API_KEY}", f"logger.wandb.tags=[{SECRET}]"):
        result = subprocess.run(
            [*command, argument], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "WANDB_API_KEY": SECRET},
        )  # fmt: skip
        assert result.returncode == 1
        assert result.stderr.startswith(
            "error: the value of WANDB_API_KEY is in the configuration, which is written to files"
        )
        assert SECRET not in result.stderr
        assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize("module", [train, sample, evaluate, export, import_pipeline, dashboard, report, sync])
@pytest.mark.parametrize("argument", ["nope.nope={}", "hydra.sweep.dir={}", "--{}"])
def test_a_command_that_holds_one_says_and_writes_nothing(module, argument, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["inkwash", "--multirun", "sweep=x", "seed=1,2", argument.format(SECRET)])
    with pytest.raises(SystemExit, match="^error: the value of HF_TOKEN is in the configuration"):
        module.main()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "dashboard", "report"])
def test_interpolated_secret_is_refused_by_every_command(command, compose_config, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    with pytest.raises(UserError, match=f"(?!.*{SECRET})the value of WANDB_API_KEY is in the configuration"):
        compose_config("run=${oc.env:WANDB_API_KEY}", config_name=command)


def test_a_sweep_keeps_interpolations_as_they_are_typed(tmp_path, monkeypatch, capsys):
    """In command.txt, which a resolved one would make the command of other jobs, and in the jobs' run.json."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    typed = "logger.wandb.notes=${oc.env:WANDB_API_KEY}"
    with initialize_config_dir(config_dir(), version_base="1.3"):
        config = compose("train", [typed, "sweep=x", f"hydra.sweep.dir={tmp_path}"], return_hydra_config=True)
    with open_dict(config):
        config.hydra.job.num = 0
    plan.announce(config, "two jobs")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(config)
    train.refuse(UserError("no"))
    assert typed in (tmp_path / "command.txt").read_text()
    (about,) = tmp_path.glob("*/run.json")
    assert typed in json.loads(about.read_text())["overrides"]
    assert not [path for path in tmp_path.rglob("*.*") if SECRET in path.read_text()]
    assert SECRET not in capsys.readouterr().out
    # Where the job's own environment makes one of it, as on another machine.
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.overrides.task.append(f"logger.wandb.name={SECRET}")
        config.hydra.sweep.subdir = "other"
    HydraConfig.instance().set_config(config)
    with pytest.raises(UserError, match="the value of WANDB_API_KEY"):
        train.train(config)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("url", ["postgresql://me:{}@host/db", "mysql+pymysql://:{}@host:3306/db", "a://h?password={}"])
def test_a_password_in_the_url_of_a_database_is_refused(url):
    with pytest.raises(UserError, match=r"^hydra.sweeper.storage holds a password.*~/.pgpass") as error:
        OptunaSweeper(1, None, None, 0, 1, url.format(SECRET), None)
    assert SECRET not in str(error.value)
    for harmless in ("postgresql://me@host:5432/db", "sqlite:////a:b/studies.db", None):
        OptunaSweeper(1, None, None, 0, 1, harmless, None)
