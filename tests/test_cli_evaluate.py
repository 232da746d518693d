"""`evaluate` as a user runs it: real processes, real ranks, one ruler for runs, folders and pipelines."""

import csv
import json
import shutil

import pytest

from inkwash.commands.evaluate import FILES
from support.commands import QUICK, inkwash, ours
from support.runs import environment

METRICS = "metrics=[fid,kid,prc,accuracy]"
FEW = ("num_images=13", METRICS, "trainer.precision=32-true", "likelihood=bound", "likelihood.times=3")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    place = tmp_path_factory.mktemp("evaluate")
    result = inkwash("train", *QUICK, "logger=csv", "run=tiny", "trainer.max_steps=2", cwd=place)
    assert result.returncode == 0, result.stderr
    return place


def table(directory):
    return json.loads((directory / "table.json").read_text())


@pytest.fixture(scope="module")
def alone(workplace):
    """Two samplers x two numbers of steps, on one process."""
    grid = ("sampler=ddim,heun", "spacing=karras", "spacing.steps=2,4", "out=alone")
    result = inkwash("evaluate", "run=tiny", *grid, *FEW, "trainer.devices=1", cwd=workplace)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_every_combination_is_in_one_table_and_one_plot(alone, workplace):
    cells = table(workplace / "alone")
    assert {(c["sampler"], c["steps"]) for c in cells} == {("DDIM", 2), ("DDIM", 4), ("Heun", 2), ("Heun", 4)}
    # Heun evaluates twice a step but for the last.
    assert {(c["sampler"], c["steps"]): c["evaluations"] for c in cells} == {
        ("DDIM", 2): 2, ("DDIM", 4): 4, ("Heun", 2): 3, ("Heun", 4): 7,
    }  # fmt: skip
    for cell in cells:
        assert cell["metrics"].keys() >= {
            "fd_classifier_13", "kid_classifier_13", "precision_classifier_13", "recall_classifier_13",
            "accuracy_classifier_13", "bits_per_dim", "bits_per_dim_error",
        }  # fmt: skip
        record = cell["records"]["fd_classifier_13"]
        assert (record["n_real"], record["n_fake"], record["steps"]) == (450, 13, cell["steps"])
        assert any("450" in note or "13 generated" in note for note in record["notes"])
    with open(workplace / "alone" / "table.csv") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert (workplace / "alone" / "quality.png").stat().st_size > 5000
    assert {path.name for path in (workplace / "alone").iterdir()} <= {"evaluate.yaml", *FILES}
    assert "13 generated images give 64 dimensions a covariance of rank 12" in alone.stdout


@pytest.mark.slow
def test_two_processes_give_the_same_values(alone, workplace):
    pair = ("sampler=ddim", "spacing=karras", "spacing.steps=4", "out=pair", "trainer.devices=2", "batch_size=3")
    result = inkwash("evaluate", "run=tiny", *pair, *FEW, cwd=workplace)
    assert result.returncode == 0, result.stderr
    (two,) = table(workplace / "pair")
    one = next(c for c in table(workplace / "alone") if (c["sampler"], c["steps"]) == ("DDIM", 4))
    assert two["world_size"] == 2
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
    assert two["evaluations"] == one["evaluations"]


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_stopped(alone, workplace):
    shutil.copytree(workplace / "alone", workplace / "again")
    cells = sorted((workplace / "again" / "cells").glob("*.json"))
    assert len(cells) == 4
    lost, *kept = cells
    lost.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in kept}
    grid = ("sampler=ddim,heun", "spacing=karras", "spacing.steps=2,4", "out=again")
    result = inkwash("evaluate", "run=tiny", *grid, *FEW, "trainer.devices=1", cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert {path.name: path.stat().st_mtime_ns for path in kept} == before
    values = [{c["name"]: c["metrics"] for c in table(workplace / name)} for name in ("again", "alone")]
    assert values[0] == values[1]


@pytest.mark.slow
def test_files_and_pipelines_meet_the_same_ruler(alone, workplace):
    """The PNGs that the run draws score what the run scores."""
    drawn = ("sampler=ddim", "spacing=karras", "spacing.steps=4", "num_images=13", "guidance=1")
    for command, arguments in (
        ("sample", ("run=tiny", *drawn, "trainer.precision=32-true", "out=drawn")),
        (
            "evaluate",
            ("images=drawn/images", "data=digits", "extractor=classifier", "num_images=13", METRICS, "out=files"),
        ),
    ):
        result = inkwash(command, *arguments, cwd=workplace)
        assert result.returncode == 0, result.stderr
    (files,) = table(workplace / "files")
    run = next(c for c in table(workplace / "alone") if (c["sampler"], c["steps"]) == ("DDIM", 4))
    for name in ("fd_classifier_13", "kid_classifier_13", "precision_classifier_13"):
        assert files["metrics"][name] == pytest.approx(run["metrics"][name], rel=1e-5), name


MISTAKES = {
    "no source": ((), "evaluate needs one of run=DIR, images=DIR and pipeline=DIR"),
    "two sources": (("run=tiny", "images=."), "not run and images"),
    "no run": (("run=nowhere",), "run=nowhere is not a run directory"),
    "foreign without data": (("images=.",), "needs data=..., as data=digits"),
    "no folder": (("images=nope", "data=digits", "extractor=classifier"), "images=nope is not a directory"),
    "sampler": (("run=tiny", "sampler=dim"), "Could not find 'sampler/dim'"),
    "later sampler": (("run=tiny", "sampler=ddim,dim"), "Could not find 'sampler/dim'"),
    "metric": (("run=tiny", "metrics=[fid,fd]"), "metrics: fd is not a choice; did you mean fid?"),
    "one image": (("run=tiny", "num_images=1"), "num_images=1"),
    "no cell is left": (("run=tiny", "sampler=heun"), "sampler=heun steps in sigma / alpha"),
    "a list of eyes": (("run=tiny", "extractor=classifier,inception"), "extractor cannot be a list"),
}  # fmt: skip


SLOW = {"no cell is left"}  # whose ranks must have begun; jobs/test_evaluate.py has it without them


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in MISTAKES.items()],
)
def test_mistakes_end_in_a_sentence(arguments, sentence, workplace):
    result = inkwash("evaluate", *arguments, cwd=workplace)
    assert result.returncode == 1
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_refused_cell_is_a_row_and_the_others_are_measured(workplace):
    result = inkwash("evaluate", "run=tiny", "sampler=ddim,heun", "spacing.steps=2", "out=part", *FEW, cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert "refused" in result.stdout
    assert "sampler=heun: sampler=heun steps in sigma / alpha" in " ".join(result.stdout.split())
    (cell,) = table(workplace / "part")
    assert cell["sampler"] == "DDIM"


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_evaluation(workplace):
    """SIGKILL in the middle: the job ends by itself, with the reason, and leaves no process behind."""
    import os
    import signal
    import subprocess
    import sys
    import time

    command = [sys.executable, "-m", "inkwash.evaluate", "run=tiny", "sampler=ddim", "spacing.steps=500", *FEW[1:]]
    job = subprocess.Popen(
        [*command, "num_images=4000", "trainer.devices=2", "out=killed"], cwd=workplace, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    victim = None
    for _ in range(600):
        ranks = [line for line in ours("killed") if "-m inkwash.launch.rank inkwash.jobs.evaluate" in line]
        if len(ranks) == 2:
            victim = int(ranks[-1].split()[0])
            break
        time.sleep(0.1)
    assert victim, ours("killed")
    time.sleep(5)
    os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    _, err = job.communicate(timeout=60)
    assert job.returncode not in (0, None)
    assert time.monotonic() - start < 60
    assert "SIGKILL" in err
    assert ours("killed") == []
