"""Damaged checkpoints are recognised and passed over; a full disk leaves the good ones alone; pickles are not run."""

import os
import pickle
import random
import shutil
import zipfile

import pytest
import torch

from inkwash.checkpoints.io import AtomicCheckpointIO, read_checkpoint
from inkwash.errors import UserError
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.checkpoint_files import CheckpointFolder, damage
from inkwash.runs.directory import RunDirectory
from inkwash.runs.resume_check import check_files
from inkwash.tracking.csv_logger import MetricsCsv
from inkwash.training.resume import forget_after
from support.run_diff import assert_same_run, checkpoint, differences
from support.selection import mostly_slow

STEPS = ("trainer.max_steps=8", "callbacks.checkpoint.every_n_steps=2")
SMALL = {"state_dict": {"a": torch.arange(40.0), "b": torch.ones(3)}, "global_step": 7, "config": {"x": [1, "two"]}}


def spoil(path, place):
    """Flip a bit of one byte; in the file itself, so that every name of it is spoilt."""
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << place % 8)]))


def truncate(path, share):
    with open(path, "r+b") as file:
        file.truncate(int(share * path.stat().st_size))


# --- One file ---------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(SMALL, path)
    whole, noticed = path.read_bytes(), 0
    for place in random.Random(0).sample(range(len(whole)), 400):
        path.write_bytes(whole)
        spoil(path, place)
        try:
            found = read_checkpoint(path)
        except UserError:
            noticed += 1
        else:
            assert differences(found, SMALL) == [], place
    # The rest is padding and the names and dates of the archive's parts.
    assert noticed > 100


def test_a_flipped_bit_of_a_weight_is_noticed(tmp_path):
    """Which torch.load does not."""
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(SMALL, path)
    spoil(path, path.read_bytes().index(SMALL["state_dict"]["a"].numpy().tobytes()) + 10)
    assert differences(torch.load(path, weights_only=True), SMALL) != []
    with pytest.raises(UserError, match=r"x.ckpt is not a readable checkpoint \(the checksum of .*data/0 is wrong\)"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_noticed(tmp_path, share):
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(SMALL, path)
    assert damage(path) is None
    truncate(path, share)
    assert damage(path) is not None
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    (tmp_path / "checkpoints").mkdir()
    make(RunDirectory(tmp_path).checkpoints.of_step(99))
    with pytest.raises(
        UserError, match=r"step-00000099.ckpt is not a readable checkpoint \(it is not a regular file\)"
    ):
        read_checkpoint(RunDirectory(tmp_path).checkpoints.of_step(99))


FILES = (
    "config.yaml", "config.next.yaml", "run.json", "status.json", "summary.json", "trial.json", "metrics.csv",
    "metrics.jsonl", "train.log", "launch.lock",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_a_run_directory_is_named(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is not a regular file: move it away, or choose another run=NAME"):
        check_files(RunDirectory(tmp_path))


# --- A run of several -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", mostly_slow(["truncated", "flipped", "empty"], "flipped"))
def test_damaged_last_checkpoint_is_passed_over(new_run, how):
    options = (*STEPS, "callbacks.samples.every_n_steps=2")
    whole = new_run("whole", *options)
    train(whole)
    parts = new_run("parts", *options, "trainer.max_steps=6")
    train(parts)
    last = parts / "checkpoints" / "last.ckpt"
    if how == "flipped":
        content = checkpoint(parts)["state_dict"]["denoiser.net.output.2.weight"].numpy().tobytes()
        spoil(last, last.read_bytes().index(content))
    else:
        truncate(last, 0.5 if how == "truncated" else 0)
    train(new_run("parts", *options))
    log = (parts / "train.log").read_text()
    (line,) = [line for line in log.splitlines() if "passed over" in line]
    assert "step-00000006.ckpt is not a readable checkpoint" in line
    assert "resuming     from step 4" in log
    assert_same_run(whole, parts)
    assert [*RunDirectory(parts).checkpoints.by_step()] == [6, 8]


@pytest.mark.slow
def test_without_any_sound_checkpoint_nothing_is_overwritten(new_run):
    directory = new_run("run", *STEPS)
    train(directory)
    for path in RunDirectory(directory).checkpoints.newest_first():
        truncate(path, 0.5)
    with pytest.raises(UserError, match=r"no checkpoint of .*run is sound: delete .*checkpoints to start afresh"):
        train(new_run("run", *STEPS, "trainer.max_steps=10"))
    assert [*RunDirectory(directory).checkpoints.by_step()] == [6, 8]


@pytest.mark.slow
def test_keep_is_how_many_stay(new_run):
    directory = new_run("run", *STEPS, "callbacks.checkpoint.keep=3")
    train(directory)
    assert [*RunDirectory(directory).checkpoints.by_step()] == [4, 6, 8]
    assert checkpoint(directory)["global_step"] == 8
    # Another name, not another file.
    assert (directory / "checkpoints" / "last.ckpt").samefile(RunDirectory(directory).checkpoints.of_step(8))
    train(new_run("run", *STEPS, "trainer.max_steps=12", "callbacks.checkpoint.keep=1"))
    assert [*RunDirectory(directory).checkpoints.by_step()] == [12]
    with pytest.raises(UserError, match=r"callbacks.checkpoint.keep=0 must be at least 1"):
        train(new_run("other", "callbacks.checkpoint.keep=0"))


def test_without_hard_links_last_is_a_copy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = RunDirectory(tmp_path).checkpoints.of_step(5)
    AtomicCheckpointIO().save_checkpoint(SMALL, path)
    CheckpointFolder(path.parent).point_last(path)
    assert differences(read_checkpoint(path.with_name("last.ckpt")), SMALL) == []
    assert RunDirectory(tmp_path).checkpoints.newest_first() == [path.with_name("last.ckpt"), path]


@pytest.mark.slow
def test_a_copied_run_goes_on(new_run, tmp_path):
    """Copying makes two files of one; either may be the only one that is left."""
    directory = new_run("run", *STEPS, "trainer.max_steps=4")
    train(directory)
    shutil.copytree(directory, tmp_path / "copy")
    for path in RunDirectory(tmp_path / "copy").checkpoints.by_step().values():
        path.unlink()
    copy = new_run("copy", *STEPS)
    train(copy)
    assert "resuming     from step 4" in (copy / "train.log").read_text()
    assert checkpoint(copy)["global_step"] == 8


# --- Records ----------------------------------------------------------------------------------------------------------


def test_what_is_no_record_is_dropped_before_a_resume(tmp_path):
    """As the end of a run, which lists them all, takes for granted."""
    good = '{"step": 2, "name": "fid", "value": NaN}\n'
    bad = (
        '{"step": 2}',
        "[]",
        "5",
        '{"step": 2, "name": "fid", "value": "x"}',
        '{"step": 1e999, "name": "a", "value": 1}',
    )
    path = tmp_path / "metrics.jsonl"
    path.write_text(good + "".join(f"{line}\n" for line in bad) + good.replace("2", "4") + good.rstrip())
    forget_after(path, step=3)
    assert path.read_text() == good


@pytest.mark.parametrize("row", ["2,abc", "2", "2,1.0,3", "x,1"])
def test_a_row_that_holds_no_numbers_is_told_before_training(tmp_path, row):
    (tmp_path / "metrics.csv").write_text(f"step,heldout/loss\n0,\n{row}\n4,nan\n")
    with pytest.raises(UserError, match=r"metrics.csv is damaged .*: move it away, and a new one begins"):
        MetricsCsv(str(tmp_path))


# --- A full disk ------------------------------------------------------------------------------------------------------


def test_full_disk_leaves_older_checkpoints(new_run):
    full = "+callbacks.full={_target_: support.faults.FullDisk, step: 6}"
    directory = new_run("run", *STEPS, full, "~callbacks.best")
    sentence = (
        r"step-00000006.ckpt cannot be written \(No space left on device\): the checkpoints before it are kept; "
        r"free some space, or keep fewer with callbacks.checkpoint.keep=1"
    )
    with pytest.raises(UserError, match=sentence):
        train(directory)
    assert checkpoint(directory)["global_step"] == 4
    assert not list((directory / "checkpoints").glob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_that_the_system_refuses_ends_a_job_in_a_sentence(new_run, jobs, processes):
    """The whole job, with a real refusal: no file may be larger than half a checkpoint."""
    options = ("trainer=ddp_cpu", f"trainer.devices={processes}", "~callbacks.samples", "~callbacks.best")
    directory = new_run("run", *STEPS, *options, "trainer.max_steps=4")
    assert jobs.run(directory, processes) == 0
    size = (directory / "checkpoints" / "last.ckpt").stat().st_size
    directory = new_run("run", *STEPS, *options)
    assert jobs.run(directory, processes, limits={"RLIMIT_FSIZE": size // 2}) == 1
    text = (directory / "error-rank-0.txt").read_text()
    assert text.startswith("error: ")
    assert "step-00000006.ckpt cannot be written (File too large)" in text
    assert text.count("\n") == 1
    assert checkpoint(directory)["global_step"] == 4


# --- Content that is not data -----------------------------------------------------------------------------------------


class Malice:
    """Would leave a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def malicious(path, mark):
    """A well-formed checkpoint with right checksums, whose pickle runs something."""
    torch.save({"state_dict": {}, "global_step": 4, "config": {}, "extra": Malice(mark)}, path)
    assert damage(path) is None


def test_a_checkpoint_runs_nothing(new_run, tmp_path):
    directory, mark = new_run("run", *STEPS, "trainer.max_steps=4"), tmp_path / "mark"
    train(directory)
    pickle.loads(pickle.dumps(Malice(mark))).close()
    assert mark.exists()  # it would
    mark.unlink()
    for path in RunDirectory(directory).checkpoints.newest_first():
        malicious(path, mark)
    for attempt in (
        lambda: train(new_run("run", *STEPS)),
        lambda: load_run(directory),
        lambda: train(new_run("other", *STEPS, f"init_from={directory}")),
        lambda: train(new_run("third", *STEPS, f"init_from={directory / 'checkpoints' / 'last.ckpt'}")),
        lambda: AtomicCheckpointIO().load_checkpoint(directory / "checkpoints" / "last.ckpt", weights_only=False),
    ):
        with pytest.raises(UserError, match="is sound|not a readable checkpoint") as error:
            attempt()
        assert "\n" not in str(error.value)
        assert not mark.exists()
    log = (directory / "train.log").read_text()
    assert "holds other things than text, numbers and tensors, which are not loaded" in log


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_runs_nothing(tmp_path, monkeypatch):
    """Not even where the environment asks torch to."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, mark = tmp_path / "x.ckpt", tmp_path / "mark"
    for write in (
        lambda: path.write_bytes(pickle.dumps(Malice(mark))),
        lambda: torch.save(Malice(mark), path, _use_new_zipfile_serialization=False),
        lambda: torch.save(Malice(mark), path),
    ):
        write()
        with pytest.raises(UserError, match="not a readable checkpoint"):
            read_checkpoint(path)
        assert not mark.exists()


def test_the_checksums_are_those_of_a_zip_archive(tmp_path):
    AtomicCheckpointIO().save_checkpoint(SMALL, tmp_path / "x.ckpt")
    with zipfile.ZipFile(tmp_path / "x.ckpt") as archive:
        assert all(part.CRC for part in archive.infolist() if part.file_size)
