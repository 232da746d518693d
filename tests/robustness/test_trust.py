"""A configuration calls only what it may."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from inkwash.config.paths import PACKAGE
from inkwash.config.trust import refuse_strangers
from inkwash.config.validate import check_nodes
from inkwash.errors import UserError
from inkwash.interop import pipeline, pipeline_import
from inkwash.jobs.evaluate import evaluate
from inkwash.jobs.sample import sample
from inkwash.jobs.train import train
from inkwash.run import load_denoiser, load_run
from inkwash.runs.directory import RunDirectory

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
        check_nodes({"sampler": node})
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


def poison(directory, *keys, mark, file="config.yaml"):
    """Have a node of a run's config.yaml call something."""
    path = directory / file
    config = yaml.safe_load(path.read_text())
    node = config
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = {"_target_": "os.system", "command": f"touch {mark}"}
    path.write_text(yaml.safe_dump(config))


# What reads config.yaml of a run. Every other command reads it as RunDirectory.config.
WAYS = {
    "load": load_run,
    "train": train,
    "guide=auto": lambda run: load_denoiser(str(run), "last.ckpt", "ema", str(run)),
    "export": lambda run: pipeline.export_diffusers(run, run / "out"),
    "safetensors": lambda run: pipeline.export_safetensors(run, run / "out"),
    "evaluate, sample, dashboard": lambda run: RunDirectory.find(str(run)).config,
}
REFUSED = r"_target_=os.system is neither a class of inkwash nor in conf/"


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("keys", [("model",), ("prediction",), ("schedule", "betas"), ("sampler",), ("data", "source")])
def test_a_run_from_elsewhere_calls_nothing(new_run, tmp_path, keys):
    directory, mark = new_run("run", *STEPS), tmp_path / "mark"
    train(directory)
    poison(directory, *keys, mark=mark)
    for way, attempt in WAYS.items():
        with pytest.raises(UserError, match=f"config.yaml: .*{REFUSED}"):
            attempt(directory)
        assert not mark.exists(), way


def test_a_stored_resume_calls_nothing(new_run, tmp_path):
    directory, mark = new_run("run", *STEPS), tmp_path / "mark"
    shutil.copyfile(directory / "config.yaml", directory / "config.next.yaml")
    poison(directory, "callbacks", "log", mark=mark, file="config.next.yaml")
    with pytest.raises(UserError, match=f"config.next.yaml: callbacks.log.{REFUSED}"):
        train(directory)
    assert not mark.exists()


@pytest.mark.parametrize(("job", "file"), [(sample, "sample.yaml"), (evaluate, "evaluate.yaml")])
def test_the_file_of_a_job_calls_nothing(job, file, tmp_path):
    """The command has just written it, but the folder may be one that lay there."""
    (tmp_path / file).write_text("{}")
    poison(tmp_path, "sampler", mark=tmp_path / "mark", file=file)
    with pytest.raises(UserError, match=f"{file}: sampler.{REFUSED}"):
        job(tmp_path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_init_from_builds_nothing_of_the_other_run(new_run, tmp_path):
    other, mark = new_run("other", *STEPS), tmp_path / "mark"
    train(other)
    poison(other, "model", mark=mark)
    train(new_run("run", *STEPS, f"init_from={other}"))
    assert not mark.exists()


def test_import_builds_what_conf_names(tmp_path):
    """Fields of a pipeline's JSON that look like nodes are not called."""
    node = {"_target_": "os.system", "command": f"touch {tmp_path / 'mark'}"}
    unet, scheduler = (tmp_path / "pipeline" / part for part in ("unet", "scheduler"))
    for folder, name, fields in (
        (unet, "config.json", {"_class_name": "UNet2DModel", "sample_size": 8, "dropout": node}),
        (scheduler, "scheduler_config.json", {"_class_name": "DDPMScheduler", "beta_start": node}),
    ):
        folder.mkdir(parents=True)
        (folder / name).write_text(json.dumps(fields))
    save_file({"x": torch.zeros(1)}, unet / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match="dropout=.* must be a finite number"):
        pipeline_import.import_diffusers(tmp_path / "pipeline", tmp_path / "run")
    assert not (tmp_path / "mark").exists()


def test_configurations_are_read_in_one_place():
    """Or a node would reach `build` unchecked. wandb_jobs.py builds nothing, schedule_curves.py reads our conf/."""
    readers = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "OmegaConf.load(" in path.read_text()}
    ours = ("runs/config_file.py", "tracking/wandb_jobs.py", "reports/schedule_curves.py")
    assert readers <= {Path(path) for path in ours}


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
