"""Sweepers and launchers with jobs that take no time (quick_jobs.py), and the refusals; test_sweep_slow.py trains."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler

from hydra_plugins.inkwash.slots import SlotsLauncher
from hydra_plugins.inkwash.space import distribution
from hydra_plugins.inkwash.study import OptunaSweeper
from inkwash.commands.evaluate import combinations
from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.files import read_json, write_text
from inkwash.runs.directory import SAFE, RunDirectory
from inkwash.sweeps import plan, table
from inkwash.sweeps.trial import open_storage

ROOT = Path(__file__).parents[1]
LOG_LR = "optimizer.lr=tag(log,interval(1e-5,1e-1))"


def run(*arguments, cwd, module="quick_jobs", timeout=100, **environment):
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


CHOICES = [(group, path.stem) for group in ("launcher", "sweeper")
           for path in sorted((Path(config_dir()) / group).glob("*.yaml"))]  # fmt: skip


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_is_a_plugin_that_takes_its_settings(group, choice, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with initialize_config_dir(config_dir(), version_base="1.3"):
        config = compose("train", [f"{group}={choice}", "hydra.job.name=train"], return_hydra_config=True)
    assert isinstance(
        Plugins.instance()._instantiate(config.hydra[group]), Launcher if group == "launcher" else Sweeper
    )


# --- Grids ------------------------------------------------------------------------------------------------------------


def test_a_repeated_sweep_runs_what_is_left(tmp_path):
    """A job fails and a job is killed: the others finish, both are told, and only these two run again."""
    arguments = ("sweep=mine", "optimizer.lr=1e-2,1e-3,1e-4,1e-1", "launcher=parallel")
    first = run(*arguments, cwd=tmp_path, FAIL="1e-3", DIE="1e-4")
    directory = tmp_path / "runs" / "mine"
    assert first.returncode == 1, first.stderr
    assert sorted(states(directory).values()) == ["failed", "finished", "finished", "running"]
    assert "failed: optimizer.lr=0.001: error: as it was told to" in first.stdout
    assert "running: optimizer.lr=0.0001: " in first.stdout

    begun = set((directory / "begun").read_text().splitlines())
    (directory / "begun").unlink()
    second = run(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "4 jobs, 2 of them done already" in second.stdout
    again = (directory / "begun").read_text().splitlines()
    assert len(again) == 2
    assert set(again) < begun
    assert set(states(directory).values()) == {"finished"}
    with open(directory / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["heldout_loss"]) for row in rows]
    assert losses == sorted(losses) == [0, 1, 1, 4]
    assert (directory / "command.txt").read_text().startswith("make sweep sweep=mine optimizer.lr=1e-2,1e-3")


def test_names_of_jobs():
    name = plan.job_name(["optimizer.lr=0.00123456789", "schedule=linear"], ["a=1", "schedule=linear", "sweep=x"])
    assert name.startswith("optimizer.lr-0.001235_schedule-linear-")
    # Whatever does not belong to the job leaves its name alone, and so does the order; anything else changes it.
    same = ["launcher=gpus", "schedule=linear", "a=1", "sweep=y", "resume=must", "sweeper=grid"]
    assert name == plan.job_name(["optimizer.lr=0.00123456789", "schedule=linear"], same)
    assert name != plan.job_name(["optimizer.lr=0.00123456789", "schedule=linear"], ["a=2", "schedule=linear"])
    long = plan.job_name(["x=" + "y" * 300], ["x=" + "y" * 300])
    assert len(long) < 120
    assert SAFE.fullmatch(plan.job_name(["a={b: [1, 2]}", "c='$HOME (x)'"], []))


def a_job(directory):
    """What the table reads of a job that has finished."""
    directory.mkdir(parents=True)
    summary = {"metrics": {"fid": {"value": 2.0}}, "steps": 4, "loss": 0.5, "images_per_second": 9.0}
    write_text(directory / "summary.json", json.dumps(summary))
    write_text(directory / "run.json", json.dumps({"id": "x", "overrides": [f"seed={directory.name}"]}))
    RunDirectory(directory).write_status("finished")


def test_jobs_of_different_code_are_told_apart(tmp_path, capsys):
    """What was done already is not trained again, though the code has changed since."""
    told = "the jobs were trained by different versions of the code"
    for job, about in (("1", {"commit": "abc"}), ("2", {"commit": "abc"}), ("3", {"commit": "abc", "dirty": True})):
        a_job(tmp_path / job)
        about |= read_json(tmp_path / job / "run.json")
        write_text(tmp_path / job / "run.json", json.dumps(about))
        assert table.finish(tmp_path, [job]) == 0
        assert (told in capsys.readouterr().out) == (job == "3")
    with open(tmp_path / "sweep.csv") as file:
        assert [row["commit"] for row in csv.DictReader(file)] == ["abc", "abc", "abc-dirty"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"5", b"\xff", None])
@pytest.mark.parametrize("name", ["status.json", "run.json", "summary.json"])
def test_a_damaged_file_of_a_job_costs_only_its_row(tmp_path, capsys, name, content):
    for job in ("1", "2"):
        a_job(tmp_path / job)
    (tmp_path / "other").mkdir()
    (tmp_path / "1" / name).unlink()
    if content is not None:
        (tmp_path / "1" / name).write_bytes(content)
    assert not table.done(tmp_path / "1")  # so the same sweep runs it again
    assert table.done(tmp_path / "2")
    assert table.finish(tmp_path, ["1", "2"]) == 1
    if name != "status.json":
        assert f": {tmp_path / '1' / name} is missing or damaged: restore it from a copy\n" in capsys.readouterr().out
    with open(tmp_path / "sweep.csv") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert (rows["2"]["state"], rows["2"]["fid"]) == ("finished", "2.0")
    assert rows.get("1", {"state": "lost"})["state"] == "lost"


# --- Slots ------------------------------------------------------------------------------------------------------------


def test_no_two_jobs_share_a_gpu_and_a_crash_frees_it(tmp_path):
    arguments = ("sweep=mine", "optimizer.lr=1,2,3,4,5,6", "launcher=gpus", "hydra.launcher.gpus_per_job=2")
    result = run(*arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES="2,3,5,7,8,9", SECONDS="2", DIE="2")
    directory = tmp_path / "runs" / "mine"
    assert result.returncode == 1, result.stderr
    assert "running: optimizer.lr=2: " in result.stdout
    ran = jobs(directory)
    assert len(ran) == 5
    assert {job["gpus"] for job in ran.values()} == {"2,3", "5,7", "8,9"}
    live = sorted((job["started"], job["ended"], job["gpus"]) for job in ran.values())
    for (_, ended, gpus), (started, _, others) in itertools.combinations(live, 2):
        assert gpus != others or started >= ended
    # At some moment there were as many as there are slots.
    assert max(sum(a <= start < b for a, b, _ in live) for start, _, _ in live) == 3


def test_gpus_that_cannot_be_shared_out_are_refused(tmp_path):
    for gpus, sentence in (("0,1,2", "gpus_per_job=2 does not divide 3 GPUs evenly"), ("", "finds no GPU")):
        arguments = ("seed=1,2", "launcher=gpus", "hydra.launcher.gpus_per_job=2")
        result = run(*arguments, cwd=tmp_path, module="inkwash.train", CUDA_VISIBLE_DEVICES=gpus)
        assert result.returncode == 1
        assert sentence in result.stderr
        assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_jobs_and_starts_no_other(tmp_path):
    """A signal for the sweep's process alone, as a scheduler sends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quick_jobs", "--multirun", "sweep=mine", "seed=1,2,3", "launcher=parallel"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "SECONDS": "99"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    begun, deadline = tmp_path / "runs" / "mine" / "begun", time.monotonic() + 60
    while not begun.exists() or len(begun.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert len(begun.read_text().splitlines()) == 2
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout.splitlines()
    assert not [line for line in lines if "quick_jobs" in line and "seed=1,2,3" in line]


# --- Optuna -----------------------------------------------------------------------------------------------------------


def space(text):
    (override,) = OverridesParser.create().parse_overrides([text])
    return distribution(override)


def test_hydras_syntax_describes_optunas_distributions():
    assert space("a=interval(0.1,2)") == FloatDistribution(0.1, 2)
    assert space("a=tag(log,interval(1e-5,1e-2))") == FloatDistribution(1e-5, 1e-2, log=True)
    assert space("a=int(interval(8,64))") == IntDistribution(8, 64)
    assert space("a=tag(log,int(interval(8,64)))") == IntDistribution(8, 64, log=True)
    assert space("a=range(8,65,8)") == IntDistribution(8, 64, step=8)
    assert space("a=range(8,64,8)") == IntDistribution(8, 56, step=8)  # Hydra's range ends before its end
    assert space("a=range(0.0,1.0,0.25)") == FloatDistribution(0, 0.75, step=0.25)
    for text in ("a=x,y,1", "a=choice(x,y,1)"):
        assert space(text) == CategoricalDistribution(["x", "y", "1"])
    assert space("schedule=[1,2],[3]") == CategoricalDistribution(["[1,2]", "[3]"])


@pytest.mark.parametrize("value", [
    "tag(log,interval(0,1.0))", "interval(1,inf)", "interval(nan,1)", "range(5,5)", "range(1,5,0)", "range(1,2,0.0)",
    "range(1,inf)", "range(0,1,1e-9)", "range(5,1,-1)",
])  # fmt: skip
def test_what_is_no_space_is_named(value):
    with pytest.raises(UserError) as error:
        space(f"a={value}")
    assert str(error.value).startswith(f"a={value}: ")
    assert space("a=range(1,1000000000)") == IntDistribution(1, 999_999_999)  # without counting them


def test_a_study_that_is_killed_asks_for_what_it_would_have_asked_for(tmp_path):
    """The same trials, each told once, whether the sweep was killed in its third job or not."""
    arguments = ("sweeper=optuna", "hydra.sweeper.n_trials=5", "+hydra.sweeper.sampler.n_startup_trials=2", LOG_LR)
    whole = run("sweep=whole", *arguments, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert run("sweep=parts", *arguments, cwd=tmp_path, STOP_AFTER="3").returncode == -9
    parts = tmp_path / "runs" / "parts"
    assert [trial.state.name for trial in study(parts)] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert "best" in run("sweep=parts", *arguments, cwd=tmp_path).stdout
    one, two = study(tmp_path / "runs" / "whole"), study(parts)
    assert [trial.params for trial in one] == [trial.params for trial in two]
    assert [trial.value for trial in one] == [trial.value for trial in two]
    assert {trial.state.name for trial in one + two} == {"COMPLETE"}
    assert len((parts / "begun").read_text().splitlines()) == 6  # the third began twice
    assert not list(parts.glob("*.worker"))
    other = run("sweep=parts", *arguments, "hydra.sweeper.metric=kid", cwd=tmp_path)
    assert other.returncode == 1
    assert "sweep=parts was begun with the metric fid, now it is kid: choose another name" in other.stderr


def test_pruned_trials_are_no_failures(tmp_path):
    # Optuna's median pruner, and at seed 1 these learning rates: some are worse than the median of those before.
    arguments = ("sweep=mine", "sweeper=random", "hydra.sweeper.n_trials=6", "seed=1", "launcher=parallel", LOG_LR)
    result = run(*arguments, cwd=tmp_path, REPORT="3")
    directory = tmp_path / "runs" / "mine"
    assert result.returncode == 0, result.stderr
    found = study(directory)
    pruned = [trial for trial in found if trial.state.name == "PRUNED"]
    assert pruned
    assert {trial.state.name for trial in found} == {"COMPLETE", "PRUNED"}
    assert list(states(directory).values()).count("pruned") == len(pruned)
    assert "pruned at 4" in result.stdout
    with open(directory / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if row["state"] == "finished"]
    assert rows[: len(kept)] == kept  # the whole ones first


# --- Refusals ---------------------------------------------------------------------------------------------------------

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


def parsed(*texts):
    return OverridesParser.create().parse_overrides(list(texts))


@pytest.mark.parametrize(("lists", "sentence"), {
    ("seed=range(5,5)",): r"seed=range\(5,5\) lists no values",
    ("seed=range(1,5,0)",): r"seed=range\(1,5,0\): ",
    ("seed=range(1,100000000)",): r"range\(1,100000000\) makes more than 10,000 combinations",
    ("seed=shuffle(range(1,inf))",): "makes more than 10,000 combinations",
    ("a=range(0,101)", "b=1,2", "c=range(0,100)"): r"c=range\(0,100\) makes more than 10,000 combinations",
}.items())  # fmt: skip
def test_lists_of_nothing_and_of_too_much_are_refused(lists, sentence):
    with pytest.raises(UserError, match=sentence):
        plan.refuse_counts(parsed(*lists))
    with pytest.raises(UserError, match=sentence):
        combinations(list(lists))
    plan.refuse_counts(parsed("a=range(0,100)", "b=range(0,100)", "c=1", "d=interval(0,1)"))


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


@pytest.mark.parametrize(("storage", "journal", "named"), [
    (None, b"\xff\x00\n{}\n", "study.journal"), (None, b"[]\n", "study.journal"),
    (None, b'{"op_code": 0}\n', "study.journal"), ("nope://x", b"", "hydra.sweeper.storage"),
    ("sqlite:////nonexistent/x.db", b"", "hydra.sweeper.storage"),
])  # fmt: skip
def test_a_study_that_cannot_be_opened_is_named(storage, journal, named, tmp_path):
    (tmp_path / "study.journal").write_bytes(journal)
    sweeper = OptunaSweeper(1, None, None, 0, 1, storage, TPESampler)
    sweeper.directory, sweeper.config = tmp_path, OmegaConf.create({"metrics": {}})
    with pytest.raises(UserError, match=f"the study in .* cannot be opened .*{named}|the study in .*{named} cannot be"):
        sweeper._open()


def test_a_sweep_needs_a_folder(tmp_path):
    (tmp_path / "x").touch()
    for name in ("x", "x/y"):
        config = OmegaConf.create({"run": None, "hydra": {"sweep": {"dir": str(tmp_path / name)}}})
        with pytest.raises(UserError, match=f"{tmp_path / 'x'} is a file, not a folder: choose another sweep=NAME"):
            plan.begin(config)


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.items())
def test_sweeps_that_cannot_work_end_before_they_begin(arguments, sentence, tmp_path):
    result = run(*arguments.split(), cwd=tmp_path, module="inkwash.train", CUDA_VISIBLE_DEVICES="0,1")
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.csv"))


def test_the_objective_is_a_metric_that_was_measured(tmp_path):
    (tmp_path / "summary.json").write_text('{"metrics": {"fd_x_8": {"value": 3}, "kid_x_8": {"value": 1}}}')
    assert table.objective(tmp_path, None) == 3
    assert table.objective(tmp_path, "kid") == 1
    with pytest.raises(UserError, match=r"hydra.sweeper.metric=isc was not measured in .*, but fd_x_8, kid_x_8"):
        table.objective(tmp_path, "isc")


def test_some_metrics_had_better_be_large():
    for rising in ("accuracy_classifier_8", "accuracy", "isc", "prc", "dc", "recall_classifier_8"):
        assert table.rises(rising), rising
    for falling in ("fd_classifier_8", "fid", "kid", "heldout_loss", "memorised"):
        assert not table.rises(falling), falling


def test_plain_commands_import_no_sweeper():
    code = (
        "import sys, inkwash.train; from hydra.core.plugins import Plugins; Plugins.instance();"
        "print([m for m in ('torch', 'optuna', 'ray', 'joblib', 'submitit', 'numpy', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
