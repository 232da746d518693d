"""A configuration calls only what it may."""

import subprocess
import sys

import pytest
import yaml

from inkwash.config.instantiate import build
from inkwash.config.trust import refuse_strangers
from inkwash.errors import UserError
from inkwash.jobs.train import train
from inkwash.run import load_run

STEPS = ("trainer.max_steps=2", "callbacks.checkpoint.every_n_steps=2")
STRANGERS = (
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "functools.partial",
    "pathlib.Path.unlink",
    "torch.load",
    "torch.hub.load",
    "torch.serialization.load",
    "torch.optim.optimizer.os.system",
    "torch.nn.functional.relu",
    "hydra.utils.call",
    "yaml.unsafe_load",
    "pickle.loads",
    "supportandmore.Thing",
    "inkwash.launch.subprocess.Popen",
    "inkwash.files.write_text",
    "inkwash.launch.start.start",
    "inkwash.run.load_run",
    "inkwash.runs.checkpoint_files.sweep_up",
    "inkwash.metrics.extractors.weights.find_weights",
)


@pytest.mark.parametrize("target", STRANGERS)
def test_a_stranger_is_refused_before_anything_is_called(target, tmp_path):
    node = {"_target_": "inkwash.process.spacing.Trailing", "steps": [{"_target_": target, "args": str(tmp_path)}]}
    with pytest.raises(UserError) as error:
        build(node)
    assert target in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target",
    [
        "inkwash.samplers.ddim.DDIM", "inkwash.process.betas.listed", "inkwash.training.trainer.build_trainer",
        "torch.optim.SGD", "torch.nn.Identity", "lightning.pytorch.callbacks.DeviceStatsMonitor",
        "support.parts.Pictures",
    ],
)  # fmt: skip
def test_what_is_ours_or_known_may_be_called(target):
    refuse_strangers({"_target_": target})


def test_packages_of_ones_own_are_named_in_the_environment(monkeypatch):
    monkeypatch.delenv("INKWASH_TRUST")
    with pytest.raises(
        UserError, match=r"support.parts.Pictures is neither .*: if it is yours, set INKWASH_TRUST=PACKAGE"
    ):
        refuse_strangers({"_target_": "support.parts.Pictures"})
    monkeypatch.setenv("INKWASH_TRUST", "others,support")
    refuse_strangers({"_target_": "support.parts.Pictures"})


def poison(directory, *keys, mark):
    """Have a node of a run's config.yaml call something."""
    path = directory / "config.yaml"
    config = yaml.safe_load(path.read_text())
    node = config
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = {"_target_": "os.system", "command": f"touch {mark}"}
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("keys", [("model",), ("prediction",), ("schedule", "betas")])
def test_a_run_from_elsewhere_calls_nothing(new_run, tmp_path, keys):
    directory, mark = new_run("run", *STEPS), tmp_path / "mark"
    train(directory)
    poison(directory, *keys, mark=mark)
    for attempt in (lambda: load_run(directory), lambda: train(directory)):
        with pytest.raises(UserError, match=r"_target_=os.system is neither a class of inkwash nor in conf/"):
            attempt()
        assert not mark.exists()


@pytest.mark.parametrize("command", [pytest.param("sample", marks=pytest.mark.slow), "train"])
def test_the_commands_say_so(new_run, tmp_path, command):
    directory, mark = new_run("run", *STEPS), tmp_path / "mark"
    train(directory)
    poison(directory, "model", mark=mark)
    arguments = {
        "sample": (f"run={directory}", "num_images=2", f"out={tmp_path / 'out'}"),
        "train": ("--config-dir", str(directory), "--config-name", "config", "run=again"),
    }
    result = subprocess.run(
        [sys.executable, "-m", f"inkwash.{command}", *arguments[command]], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "_target_=os.system is neither a class of inkwash nor in conf/" in result.stderr
    assert "Traceback" not in result.stderr
    assert not mark.exists()
