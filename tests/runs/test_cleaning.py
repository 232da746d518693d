"""What may be deleted: nothing that trains, nothing outside of runs/, no checkpoint that is not named."""

import json
import os
import shutil
import time

import pytest

from inkwash.errors import UserError
from inkwash.runs.cleaning import delete, leftovers, mend_latest, named
from support.locks import locked
from support.runs import TESTS

GOLDEN = TESTS / "golden" / "runs" / "default"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def make(folder):
    """make(name, state, checkpoint): a run; old=True: nothing has changed in it for a day."""

    def run(name, state, checkpoint=False, old=True):
        shutil.copytree(GOLDEN, folder / name)
        (folder / name / "status.json").write_text(json.dumps({"state": state, "time": 0, "error": "error: why"}))
        if not checkpoint:
            shutil.rmtree(folder / name / "checkpoints")
        if old:
            age(folder / name)
        return folder / name

    return run


def age(path, seconds=86_400):
    for file in [path, *path.rglob("*")]:
        os.utime(file, (time.time() - seconds,) * 2)


def test_runs_that_came_to_nothing_are_listed(make, folder):
    make("finished", "finished")
    make("kept", "failed", checkpoint=True)
    make("failed", "failed", old=False)
    make("killed", "running")
    make("perhaps", "running", old=False)  # a file system without locks would look like this
    make("stopped", "stopped")
    (folder / "empty").mkdir()
    age(folder / "empty")
    (folder / "elsewhere").symlink_to(folder.parent)
    assert {found.path.name: found.why for found in leftovers(folder)} == {
        "failed": "failed, no checkpoint: why",
        "killed": "killed, no checkpoint: why",
        "stopped": "stopped, no checkpoint: why",
        "empty": "an empty folder",
    }
    assert all(found.size > 10_000 for found in leftovers(folder) if found.path.name != "empty")


def test_half_written_files_of_others(make, folder):
    run = make("kept", "finished", checkpoint=True, old=False)
    for name in ("checkpoints/step-00000009.ckpt.partial", "config.next.yaml"):
        (run / name).write_text("x" * 10)
    assert leftovers(folder) == []  # a process may be writing them
    age(run)
    assert [(str(found.path.relative_to(run)), found.size) for found in leftovers(folder)] == [
        ("config.next.yaml", 10),
        ("checkpoints/step-00000009.ckpt.partial", 10),
    ]
    for found in leftovers(folder):
        assert delete(found)
    assert leftovers(folder) == []
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_a_run_that_trains_is_neither_listed_nor_deleted(make, folder):
    run = make("run", "failed")
    (found,) = leftovers(folder)
    with locked(run / "launch.lock"):
        assert leftovers(folder) == []
        assert not delete(found)
        with pytest.raises(UserError, match="runs=run is still training: stop it first"):
            named(folder, ["run"])
    assert delete(found)
    assert not run.exists()


def test_named_runs_go_with_their_checkpoints_and_nothing_outside(make, folder, tmp_path):
    run = make("run", "finished", checkpoint=True)
    outside = tmp_path / "other" / "run"
    shutil.copytree(run, outside)
    (folder / "link").symlink_to(outside)
    for name in ("link", str(outside), "../other/run"):
        with pytest.raises(UserError, match=r"is a link, or not below .*runs: delete it yourself"):
            named(folder, [name])
    with pytest.raises(UserError, match="runs=nothing is not a run directory"):
        named(folder, ["nothing"])
    (found,) = named(folder, ["run"])
    assert delete(found)
    assert not run.exists()
    assert outside.is_dir()


@pytest.mark.parametrize(
    "held",
    ["job/run.json", "job/status.json", "command.txt", "weights/epoch.ckpt", "autoencoder/model.safetensors"],
)
def test_a_folder_that_holds_more_than_a_failed_run_stays(make, folder, held):
    """The files of other runs, and weights of any kind: what is not the failed run's own work is not its to lose."""
    run = make("run", "failed")
    (run / held).parent.mkdir(exist_ok=True)
    (run / held).touch()
    age(run)
    assert leftovers(folder) == []


def test_a_folder_of_another_program_stays(folder):
    for name in ("config.yaml", "config.next.yaml", "status.json", "weights/best.pt", "part.partial"):
        (folder / "foreign" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "foreign" / name).write_text("model: x\n")
    age(folder / "foreign")
    assert leftovers(folder) == []


def test_a_named_run_that_holds_others_is_not_deleted_with_them(make, folder):
    run = make("run", "failed")
    shutil.copytree(GOLDEN, run / "job")
    with pytest.raises(UserError, match=r"^runs=run would take the runs below .*: delete those first, runs=.*/job "):
        named(folder, ["run"])
    (found,) = named(folder, ["run/job"])
    assert delete(found)
    assert [found.path for found in named(folder, ["run"])] == [run]


def test_latest_points_to_what_is_left(make, folder):
    first, second = make("first", "finished"), make("second", "failed")
    (folder / "latest").symlink_to("second")
    mend_latest(folder)
    assert (folder / "latest").resolve() == second
    shutil.rmtree(second)
    mend_latest(folder)
    assert (folder / "latest").resolve() == first
    shutil.rmtree(first)
    mend_latest(folder)
    assert list(folder.iterdir()) == []
