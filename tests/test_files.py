"""Files of a run on a network file system that fails for a moment."""

import errno
import io
import os
from pathlib import Path

import pytest
import torch

from inkwash import files
from inkwash.checkpoints.io import AtomicCheckpointIO, read_plain
from inkwash.errors import UserError
from inkwash.files import insisting, read_json, write_json
from inkwash.runs.checkpoint_files import damage
from inkwash.tracking.csv_logger import MetricsCsv


@pytest.fixture
def ill(monkeypatch):
    """ill(n, number): the next n times that a file is opened end in this error; returns how often one was opened."""
    monkeypatch.setattr(files, "WAITS", (0, 0, 0))
    real, opened = io.open, []

    def start(times, number=errno.EIO):
        opened.clear()

        def failing(*arguments, **options):
            opened.append(arguments[0])
            if len(opened) <= times:
                raise OSError(number, os.strerror(number), str(arguments[0]))
            return real(*arguments, **options)

        monkeypatch.setattr("io.open", failing)
        monkeypatch.setattr("builtins.open", failing)
        return opened

    return start


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_for_a_moment_is_no_damage(ill, tmp_path, number):
    """lbann#123, libnfs#614."""
    write_json(tmp_path / "run.json", {"id": "a"})
    ill(2, number)
    assert read_json(tmp_path / "run.json") == {"id": "a"}


def test_what_lasts_is_raised_as_what_it_is(ill, tmp_path):
    write_json(tmp_path / "run.json", {"id": "a"})
    opened = ill(99)
    with pytest.raises(OSError, match="Input/output error"):
        read_json(tmp_path / "run.json")
    assert len(opened) == 4


def test_other_errors_are_not_tried_again(ill, tmp_path):
    opened = ill(99, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "run.json", {})
    assert len(opened) == 1
    with pytest.raises(ZeroDivisionError):
        insisting(lambda: 1 / 0)


def test_a_checkpoint_is_written_and_read_in_the_end(ill, tmp_path):
    path = tmp_path / "checkpoints" / "a.ckpt"
    ill(2)
    AtomicCheckpointIO().save_checkpoint({"x": torch.arange(3)}, path)
    ill(2, errno.ESTALE)
    assert damage(path) is None
    ill(2)
    assert torch.equal(read_plain(path)["x"], torch.arange(3))
    ill(99)
    with pytest.raises(UserError, match=r"a.ckpt cannot be written \(Input/output error\)"):
        AtomicCheckpointIO().save_checkpoint({}, path)
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


def test_a_row_is_in_the_table_once(ill, tmp_path):
    logger = MetricsCsv(str(tmp_path))
    for step in (1, 2, 3):
        ill(2 if step == 3 else 0)
        logger.log_metrics({"a": step}, step)
    assert Path(tmp_path, "metrics.csv").read_text().splitlines() == ["step,a", "1,1", "2,2", "3,3"]
