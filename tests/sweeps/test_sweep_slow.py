"""Sweeps of real trainings, on two ranks, with every launcher; and studies that several commands work on."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import optuna
import pytest

from inkwash.launch.start import start
from inkwash.runs.config_file import config_hash
from inkwash.runs.directory import RunDirectory
from inkwash.sweeps.trial import open_storage
from support.sweeps import LOG_LR, ROOT, run, states, study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TWO_RANKS = (
    "debug=fast", "model.channels=8", "data.batch_size=16", "trainer=ddp_cpu", "trainer.devices=2", "trainer.threads=1",
    "trainer.precision=32-true",
)  # fmt: skip
BARE = (*TWO_RANKS, "logger=csv", "~callbacks.evaluation", "~callbacks.samples")


def sweep(*arguments, cwd, **environment):
    return run(*arguments, cwd=cwd, module="inkwash.train", timeout=900, **environment)


def tree(directory):
    """Every file, with digits for hashes and W&B's own left out."""
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(re.sub(r"-[0-9a-f]{8}/", "-HASH/", str(path)) for path in paths if "wandb" not in path.parts)


GOLDEN_JOB = [
    "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/step-00000002.ckpt",
    "checkpoints/step-00000004.ckpt", "config.yaml", "launch.lock", "metrics.csv", "metrics.jsonl", "run.json",
    "samples/step-00000002.png", "samples/step-00000004.png", "status.json", "summary.json", "train.log",
]  # fmt: skip


def test_each_job_of_two_ranks_has_one_directory_and_wandb_run(tmp_path):
    """With the files that there always were, and every rank with the same configuration."""
    result = sweep(*TWO_RANKS, "sweep=mine", "schedule=linear,cosine", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]
    directory = tmp_path / "runs" / "mine"
    names = [f"schedule-{schedule}-HASH" for schedule in ("cosine", "linear")]
    golden = [f"{name}/{file}" for name in names for file in GOLDEN_JOB]
    assert {"command.txt", *golden, "sweep.csv"} <= {*tree(directory)}
    jobs = sorted(path for path in directory.iterdir() if (path / "run.json").is_file())
    records = [list((job / "wandb").glob("offline-run-*")) for job in jobs]
    assert [len(found) for found in records] == [1, 1]
    abouts = [json.loads((job / "run.json").read_text()) for job in jobs]
    assert [found[0].name[-8:] for found in records] == [about["id"] for about in abouts]
    assert [about["config_hash"] for about in abouts] == [config_hash(RunDirectory(job).config) for job in jobs]
    assert len({about["config_hash"] for about in abouts}) == 2
    assert all(json.loads((job / "summary.json").read_text())["world_size"] == 2 for job in jobs)
    with open(directory / "sweep.csv") as file:
        values = [float(row["fd_classifier_8"]) for row in csv.DictReader(file)]
    assert values == sorted(values)


def test_ranks_of_different_configurations_do_not_train(quick_run, monkeypatch, capfd):
    directory = quick_run("mixed", "trainer.devices=2", "~callbacks.evaluation")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    assert start("support.rank_config:train", directory / "config.yaml", "cpu", 2) != 0
    assert "mixed/config.yaml is not the same for every rank" in (directory / "error.txt").read_text()
    assert not (directory / "checkpoints").exists()


LAUNCHERS = {
    "sequential": (),
    "parallel": (),
    "gpus": ("hydra.launcher.gpus=[0,1]",),  # as if there were two: the jobs stay on the CPU
    "joblib": (),
    "submitit": (),
    "ray": (),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_launcher_runs_jobs_of_two_ranks(name, tmp_path):
    """Two at once or one after the other; a third that cannot start is told in the end."""
    (tmp_path / "home").mkdir()
    result = sweep(
        *BARE, *LAUNCHERS[name], f"launcher={name}", "sweep=mine", "seed=1,2", "data.batch_size=16,15",
        "trainer.max_steps=2", cwd=tmp_path, HOME=str(tmp_path / "home"),
    )  # fmt: skip
    directory = tmp_path / "runs" / "mine"
    assert result.returncode == 1, result.stderr
    assert sorted(states(directory).values()) == ["failed", "failed", "finished", "finished"]
    for seed in (1, 2):
        assert f"failed: data.batch_size=15 seed={seed}: data.batch_size=15 is the global batch" in result.stdout
    assert "Traceback" not in result.stderr
    finished = [directory / job for job, state in states(directory).items() if state == "finished"]
    hashes = {json.loads((job / "run.json").read_text())["config_hash"] for job in finished}
    assert len(hashes) == 2
    assert all((job / "checkpoints" / "last.ckpt").exists() for job in finished)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mine"]


def test_a_sweep_that_is_stopped_goes_on_where_it_was(tmp_path):
    """Both jobs save at the signal; the same command resumes one and the other, and no step is made twice."""
    one_rank = ("trainer=cpu", *(argument for argument in BARE if "ddp" not in argument and "devices" not in argument))
    arguments = (*one_rank, "sweep=mine", "seed=1,2", "launcher=parallel", "trainer.max_steps=150")
    directory = tmp_path / "runs" / "mine"
    process = subprocess.Popen(
        [sys.executable, "-m", "inkwash.train", "--multirun", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(list(directory.glob("*/checkpoints/last.ckpt"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert sorted(states(directory).values()) == ["stopped", "stopped"]
    stopped = {path.parent.name: max(int(file.stem[5:]) for file in path.glob("step-*.ckpt"))
               for path in directory.glob("*/checkpoints")}  # fmt: skip
    for name in stopped:
        assert "stopped after step" in (directory / name / "console.txt").read_text()
    result = sweep(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(states(directory).values()) == {"finished"}
    for name, step in stopped.items():
        assert f"from step {step}," in (directory / name / "train.log").read_text()
        with open(directory / name / "metrics.csv") as file:
            steps = [int(row["step"]) for row in csv.DictReader(file)]
        assert steps == sorted(set(steps))
        assert steps[-1] == 150


def test_the_pruner_stops_both_ranks_of_a_trial(tmp_path):
    """A learning rate at which nothing is learned, after one at which something is."""
    result = sweep(
        *BARE, "sweep=mine", "sweeper=random", "hydra.sweeper.seed=3", "optimizer.lr=1e-2,1e-9", "trainer.max_steps=40",
        "callbacks=[default,pruning]", "callbacks.pruning.pruner.n_startup_trials=1",
        "callbacks.pruning.pruner.n_warmup_steps=10", "hydra.sweeper.metric=heldout_loss", "hydra.sweeper.n_trials=2",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    directory = tmp_path / "runs" / "mine"
    good, bad = study(directory)
    assert (good.params["optimizer.lr"], good.state.name) == ("0.01", "COMPLETE")
    assert list(good.intermediate_values) == list(range(2, 41, 2))
    assert (bad.params["optimizer.lr"], bad.state.name) == ("1e-09", "PRUNED")
    assert list(bad.intermediate_values) == [2, 4, 6, 8, 10]
    (pruned,) = (directory / name for name, state in states(directory).items() if state == "pruned")
    assert json.loads((pruned / "summary.json").read_text())["steps"] == 10
    assert "pruned at 10" in result.stdout
    assert "Traceback" not in result.stderr


# --- Studies ----------------------------------------------------------------------------------------------------------


def test_two_commands_work_on_one_study(tmp_path):
    arguments = ("sweep=mine", "sweeper=optuna", "hydra.sweeper.n_trials=10", LOG_LR)
    command = [sys.executable, "-m", "support.fast_jobs", "--multirun", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "SECONDS": "0.5"}
    workers = [subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    directory = tmp_path / "runs" / "mine"
    found = study(directory)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 10
    assert len({trial.user_attrs["worker"] for trial in found}) == 2
    assert len((directory / "begun").read_text().splitlines()) == 10


@pytest.mark.parametrize("storage", [None, "sqlite:///studies.db"])
@pytest.mark.parametrize("sweeper", ["optuna", "cmaes", "random"])
def test_samplers_repeat_themselves_and_find_the_best(sweeper, storage, tmp_path):
    """The loss is log10(lr / 1e-3)^2 for lr in [1e-5, 1e-1], whatever the clipping: samplers that learn end near 0."""
    clip = "trainer.gradient_clip_val=interval(0.0,1.0)"
    arguments = (f"sweeper={sweeper}", "hydra.sweeper.n_trials=20", LOG_LR, clip)
    arguments += () if storage is None else (f"hydra.sweeper.storage={storage}",)
    found = []
    for name in ("one", "two"):
        result = run(f"sweep={name}", *arguments, cwd=tmp_path, timeout=400)
        assert result.returncode == 0, result.stderr
        at = storage.replace("///", f"///{tmp_path}/") if storage else str(tmp_path / "runs" / name / "study.journal")
        opened = open_storage(at)
        found.append(optuna.load_study(study_name=name, storage=opened).get_trials())
        assert "best " in result.stdout
        assert "matters     optimizer.lr " in result.stdout
    assert [trial.params for trial in found[0]] == [trial.params for trial in found[1]]
    assert min(trial.value for trial in found[0]) < (0.1 if sweeper == "random" else 0.02)
