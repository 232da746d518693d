"""A sweep that W&B's server steers: its own agent starts our jobs, told what to try as the server would tell it."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb.wandb_agent import Agent

from support.runs import ROOT

SWEEP = yaml.safe_load((ROOT / "experiments" / "wandb_sweep" / "digits.yaml").read_text())


def ends(parameter):
    """The first and the last of what a parameter of the sweep may be."""
    if "values" in parameter:
        return parameter["values"][0], parameter["values"][-1]
    return (parameter["value"],) * 2 if "value" in parameter else (parameter["min"], parameter["max"])


@pytest.mark.parametrize("end", [0, -1])
def test_everything_it_tries_composes(compose_config, end):
    tried = {name: ends(parameter)[end] for name, parameter in SWEEP["parameters"].items()}
    arguments = create_sweep_command_args({"args": {name: {"value": value} for name, value in tried.items()}})
    config = compose_config(*arguments["args_no_hyphens"])
    assert config["optimizer"]["lr"] == tried["optimizer.lr"]
    assert config["spacing"]["steps"] == config["sampler"]["spacing"]["steps"] == tried["spacing.steps"]
    assert config["trainer"]["max_steps"] == 1000
    name = {"v": "V", "eps": "Eps"}[tried["prediction"]]
    assert config["prediction"]["_target_"] == f"inkwash.process.predictions.{name}"


def test_its_metric_is_that_of_the_default_run(compose_config):
    count = compose_config()["callbacks"]["evaluation"]["num_images"]
    assert SWEEP["metric"] == {"name": f"metrics/fd_classifier_{count}", "goal": "minimize"}


@pytest.mark.slow
def test_the_agent_starts_a_run_that_belongs_to_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name, value in {"SWEEP_ID": "thesweep", "MODE": "offline", "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    agent = Agent(api=None, queue=None, sweep_id="thesweep")
    agent._sweep_command = SWEEP["command"]
    tiny = {"debug": "fast", "trainer": "cpu", "trainer.threads": 1, "model.channels": 8, "data.batch_size": 16}
    tried = {**tiny, "prediction": "eps", "optimizer.lr": 0.002}
    args = {name: {"value": value} for name, value in tried.items()}
    agent._command_run({"run_id": "given123", "program": "inkwash", "args": args})
    assert agent._run_processes["given123"].wait() == 0
    (run,) = {path.resolve() for path in (tmp_path / "runs").iterdir()}
    assert json.loads((run / "run.json").read_text())["id"] == "given123"
    (record,) = (run / "wandb").glob("offline-run-*-given123")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", record]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ}).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    described = next(line["run"] for line in lines if line["type"] == "run")
    assert (described["run_id"], described["sweep_id"]) == ("given123", "thesweep")
    config = described.get("config", {}).get("update", {})
    for line in lines:
        config |= line["config"].get("update", {}) if line["type"] == "config" else {}
    assert config["optimizer"]["lr"] == 0.002
    assert config["run"]["choices"]["prediction"] == "eps"
