"""A row for each run: its state, step and best metric, from its files."""

import json
import os
import shutil
import time

import pytest

from inkwash.runs.directory import RunDirectory
from inkwash.runs.overview import age, row_of, rows_of
from support.locks import locked
from support.runs import TESTS

GOLDEN = TESTS / "golden" / "runs" / "default"


@pytest.fixture
def runs(tmp_path):
    """make(name, **status): a copy of a run with other contents of status.json."""
    folder = tmp_path / "runs"

    def make(name, **status):
        shutil.copytree(GOLDEN, folder / name)
        if status:
            (folder / name / "status.json").write_text(json.dumps(status))
        return folder / name

    return make


def test_a_finished_run(runs):
    row = row_of(RunDirectory(runs("one")))
    assert (row.state, row.step, row.max_steps) == ("finished", 6, 6)
    assert (row.metric, row.lower) == ("fd_classifier_16", True)
    assert row.best == pytest.approx(86.4606168)  # of 87.03 at step 3 and 86.46 at step 6
    assert row.floor == pytest.approx(16.4651439)
    assert row.quality == row.best


def test_the_best_value_of_a_metric_of_which_more_is_better(runs):
    path = runs("one")
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    accuracy = [line for line in lines if line["name"].startswith("accuracy")]
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps({**accuracy[0], "value": v, "lower_is_better": False}) + "\n" for v in (0.5, 0.9, 0.7))
    )
    row = row_of(RunDirectory(path))
    assert (row.best, row.quality) == (0.9, -0.9)
    assert row.floor == 1.0  # the classifier's on real images


def test_running_without_a_process_is_killed_and_with_one_is_not(runs):
    path = runs("one", state="running", time=0)
    assert row_of(RunDirectory(path)).state == "killed"
    for name in ("launch.lock", "train.log"):  # the command's, or its rank 0 that outlives it
        with locked(path / name):
            assert row_of(RunDirectory(path)).state == "running"
        assert row_of(RunDirectory(path)).state == "killed"


def test_states_and_reasons(runs):
    crash = "rank 0 failed:\nTraceback (most recent call last):\n  File x, line 1\nAttributeError: no attribute y\n"
    assert row_of(RunDirectory(runs("crash", state="failed", error=crash))).reason == "AttributeError: no attribute y"
    assert row_of(RunDirectory(runs("bad", state="failed", error="error: data.path=x\nis missing"))).reason == (
        "data.path=x is missing"
    )
    half = runs("half")
    (half / "status.json").unlink()
    assert row_of(RunDirectory(half)).state == "lost"
    (half / "checkpoints" / "step-00000006.ckpt").touch()
    (half / "run.json").write_text("{")
    (half / "metrics.jsonl").write_text('{"name": "fd_x_8", "value": 1')
    (half / "metrics.csv").write_text("step,a\n0,1\n3,2\n4,")  # cut by a kill
    row = row_of(RunDirectory(half))
    assert (row.state, row.step, row.best) == ("lost", 6, None)  # its checkpoint is of step 6
    shutil.rmtree(half / "checkpoints")
    assert row_of(RunDirectory(half)).step == 3


def test_without_metrics_the_held_out_loss_counts(runs):
    path = runs("one")
    (path / "metrics.jsonl").unlink()
    row = row_of(RunDirectory(path))
    assert (row.metric, row.lower, row.floor) == ("heldout_loss", True, None)
    assert row.best == pytest.approx(0.882563274)


def test_a_sweep_is_a_row_with_the_best_of_its_jobs(runs, tmp_path):
    runs("mine/a")
    better = runs("mine/b")
    text = (better / "metrics.jsonl").read_text()
    (better / "metrics.jsonl").write_text(text.replace("86.4606168", "12.4606168"))
    runs("mine/c", state="failed", time=time.time(), error="error: x")
    runs("alone", state="stopped", time=0)
    (tmp_path / "runs" / "latest").symlink_to("alone")
    (tmp_path / "runs" / "data").mkdir()
    first, second = rows_of(tmp_path / "runs")
    assert (first.path.name, first.state, first.step, first.max_steps) == ("mine", "sweep", 2, 3)
    assert first.best == pytest.approx(12.4606168)
    assert second.path.name == "alone"
    assert rows_of(tmp_path / "runs" / "mine")[0].state == "failed"
    assert rows_of(tmp_path / "nowhere") == []


def test_two_hundred_runs_take_a_second_at_most(runs, tmp_path):
    runs("one")
    for i in range(199):
        shutil.copytree(tmp_path / "runs" / "one", tmp_path / "runs" / f"copy-{i}", copy_function=os.link)
    start = time.process_time()
    assert len(rows_of(tmp_path / "runs")) == 200
    assert time.process_time() - start < 1


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (12, "12 s"), (300, "5 min"), (7300, "2 h"), (9e5, "1 w")])
def test_age(seconds, text):
    assert age(seconds) == text
