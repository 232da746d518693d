"""inkwash runs, compare, resume, clean-runs and train from=: runs as things to list, compare and go on with."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest

from inkwash.commands import resume as command
from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from support.in_process import Commands
from support.runs import QUICK, environment

FEW = ("~callbacks.evaluation", "~callbacks.samples", "spacing.steps=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of two steps."""
    folder = tmp_path_factory.mktemp("place")
    ended = Commands(folder)("train", *QUICK, *FEW, "run=one", "trainer.max_steps=2", "optimizer.lr=0.002")
    assert ended.code == 0, ended.text
    return folder


@pytest.fixture
def place(trained, tmp_path):
    shutil.copytree(trained / "runs", tmp_path / "runs", symlinks=True)
    return tmp_path


@pytest.fixture
def run(place):
    return Commands(place)


def config(place, name):
    return RunDirectory(place / "runs" / name).config


# --- resume -----------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_with_its_own_overrides(place, run):
    ended = run("resume", "run=one", "trainer.max_steps=4")
    assert ended.code == 0, ended.text
    assert "resuming     from step 2" in ended.text
    assert "changed      trainer.max_steps: 2 -> 4" in ended.text
    assert "changed      optimizer.lr" not in ended.text
    assert config(place, "one")["optimizer"]["lr"] == 0.002
    record = RunDirectory(place / "runs" / "one").record
    assert {"optimizer.lr=0.002", "trainer.max_steps=4"} <= {*record["overrides"]}
    assert "trainer.max_steps=2" not in record["overrides"]


@pytest.mark.parametrize("name", ["one", "runs/one", "latest", None])
def test_a_finished_run_says_what_to_type(run, name):
    assert run("resume", *([f"run={name}"] if name else [])).error == (
        "error: run=one is finished, after 2 steps: make resume run=one trainer.max_steps=4 goes on with it, "
        "make sample run=one draws images"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run=nothing"], "run=nothing is not a run directory"),
        (["run=moved"], "run=moved is not in a folder runs: move"),
    ],
)
def test_what_cannot_go_on_says_why(place, run, arguments, sentence):
    shutil.copytree(place / "runs" / "one", place / "moved")
    assert sentence in run("resume", *arguments).error


def test_a_run_of_another_folder_goes_on_there(place, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    arguments = command.resume([f"run={place / 'runs' / 'one'}", "trainer.max_steps=4"])
    assert arguments[-2:] == ["trainer.max_steps=4", "run=one"]
    assert (place / "runs").resolve() == RunDirectory("runs").path.resolve()


def test_a_job_goes_on_with_its_sweep(place, monkeypatch):
    shutil.copytree(place / "runs" / "one", place / "runs" / "mine" / "job")
    (place / "runs" / "mine" / "command.txt").write_text("make sweep sweep=mine seed=1,2\n")
    monkeypatch.chdir(place)
    with pytest.raises(UserError, match="goes on as a whole: make sweep sweep=mine seed=1,2$"):
        command.resume(["run=mine/job"])


# --- train from=, and the stored command ------------------------------------------------------------------------------


def test_a_run_with_the_configuration_of_another(place, run):
    ended = run("train", "from=one", "run=two", "schedule=linear", "seed=3")
    assert ended.code == 0, ended.text
    one, two = config(place, "one"), config(place, "two")
    assert {key for key in one if one[key] != two[key]} == {"schedule", "seed", "data"}  # data.seed follows the seed
    assert "from runs/one: " in ended.text
    same = run("train", "from=one", "run=one").error
    assert same == "error: from=one is the run itself: make resume run=one goes on with it"
    assert "run=nothing is not a run directory" in run("train", "from=nothing", "run=x").error
    assert not (place / "runs" / "x").exists()


def test_the_stored_command_trains_the_same_again(place):
    """Really pasted into a shell, in another folder."""
    (place / "bin").mkdir()
    (place / "bin" / "inkwash").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m inkwash "$@" --cfg job\n')
    (place / "bin" / "inkwash").chmod(0o755)
    line = RunDirectory(place / "runs" / "one").record["command"]
    variables = environment(OMP_NUM_THREADS="1")
    variables["PATH"] = f"{place / 'bin'}:{variables['PATH']}"
    done = subprocess.run(["bash", "-c", line], cwd=place, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lr: 0.002" in done.stdout
    assert "max_steps: 2\n" in done.stdout
    assert "run: one" in done.stdout


# --- A run as a folder for results ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "run=one"),
        ("evaluate", "run=one", "num_images=8"),
        ("data", "data=digits"),
    ],
    ids=["sample", "evaluate", "data"],
)
def test_results_replace_nothing_of_another(place, run, arguments):
    for folder, file in (("runs/one", "summary.json"), ("notes", "report.json"), ("notes", "report.html")):
        (place / folder).mkdir(exist_ok=True)
        (place / folder / file).write_text("mine")
    assert "error: out=runs/one is a run, whose files would be replaced" in run(*arguments, "out=runs/one").error
    assert "error: out=notes has report." in run(*arguments, "out=notes").error
    assert {path.name for path in (place / "notes").iterdir()} == {"report.json", "report.html"}
    assert (place / "runs" / "one" / "summary.json").read_text() == "mine"


# --- runs, compare, clean-runs ----------------------------------------------------------------------------------------


def test_runs_are_listed(place, run):
    shutil.copytree(place / "runs" / "one", place / "runs" / "bad")
    (place / "runs" / "bad" / "status.json").write_text(
        json.dumps({"state": "failed", "time": 0, "error": "error: no"})
    )
    lines = run("runs").text.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "one", "bad", "no", "best,"]
    assert run("runs", "state=failed").text.splitlines()[1].split()[:3] == ["bad", "failed", "2/2"]
    assert run("runs", "sort=name").text.splitlines()[1].split()[0] == "bad"
    assert run("runs", "state=pruned").text == "runs has no runs that are pruned: make train\n"
    assert run("runs", "sort=x").error == "error: sort=x must be time, metric, step, name"
    assert "error: state=x must be null, or one of running, finished" in run("runs", "state=x").error
    assert "sweep=x is not a directory" in run("runs", "sweep=x").error


def test_runs_are_compared(place, run):
    shutil.copytree(place / "runs" / "one", place / "runs" / "two")
    path = place / "runs" / "two" / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.002", "lr: 0.003"))
    ended = run("compare", "runs=one,two")
    assert ended.code == 0, ended.text
    (line,) = [line for line in ended.text.splitlines() if "optimizer.lr" in line]
    assert line.split() == ["optimizer.lr", "0.002", "0.003"]
    assert "finished" in ended.text
    assert ended.text.splitlines()[-1].startswith("runs/compare-one-two.html    ")
    assert (place / "runs" / "compare-one-two.html").is_file()
    assert run("compare", "runs=one").error == "error: runs=one compares two runs or more: runs=NAME,OTHER"


def test_a_run_called_like_a_number_is_found(place, run):
    """Hydra reads 1e-4 as a number, which Python writes as 0.0001."""
    (place / "runs" / "one").rename(place / "runs" / "1e-4")
    assert "resume=never, but runs/1e-4 already holds" in run("train", *QUICK, *FEW, "run=1e-4", "resume=never").error
    assert run("resume", "run=1e-4").error.startswith("error: run=1e-4 is finished, after 2 steps")
    assert "runs/1e-4" in run("clean-runs", "runs=1e-4").text


def test_what_failed_is_deleted_when_it_is_asked_for(place, run):
    bad = place / "runs" / "bad"
    shutil.copytree(place / "runs" / "one", bad)
    shutil.rmtree(bad / "checkpoints")
    (bad / "status.json").write_text(json.dumps({"state": "failed", "time": 0, "error": "error: no"}))
    listed = run("clean-runs")
    assert listed.text.splitlines()[0].split()[0] == "runs/bad"
    assert "failed, no checkpoint: no" in listed.text
    assert listed.text.endswith("in 1; to delete them: the same command with dry=false\n")
    assert bad.is_dir()
    assert run("clean-runs", "dry=false").text.splitlines()[-1].startswith("deleted 1 of them")
    assert not bad.exists()
    assert run("clean-runs").text == "nothing to delete: no run below runs came to nothing\n"
    assert "runs/one" in run("clean-runs", "runs=one", "dry=false").text
    assert not (place / "runs" / "one").exists()
    assert not (place / "runs" / "latest").is_symlink()
