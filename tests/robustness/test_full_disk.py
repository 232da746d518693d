"""A disk that takes no more ends whatever was being written in one sentence, and leaves no part of a file."""

import errno
import os

import numpy as np
import pytest
import torch

from inkwash.commands import train
from inkwash.errors import UserError, chain, user_error
from inkwash.files import write_text
from inkwash.launch.report import fail, report_of_ranks
from inkwash.reports.image_grid import save_png
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.csv_logger import MetricsCsv

FULL = "/dev/full"


def write_with_torch():
    with open(FULL, "wb") as file:
        torch.save({"x": torch.zeros(10_000)}, file)


def write_wrapped():
    try:
        write_plain()
    except OSError as error:
        raise RuntimeError("a library's own") from error


def write_plain():
    with open(FULL, "w") as file:
        file.write("x")


@pytest.mark.parametrize("write", [write_plain, write_with_torch, write_wrapped, lambda: np.zeros(9999).tofile(FULL)])
def test_every_writer(write):
    with pytest.raises((OSError, RuntimeError)) as error:
        write()
    sentence = "a file cannot be written (No space left on device): free some space and start the same command again"
    assert str(user_error(error.value)) == sentence


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_whatever_refuses(number):
    said = str(user_error(OSError(number, os.strerror(number), "/x")))
    assert said.startswith(f"/x cannot be written ({os.strerror(number)}): free some space")


def test_other_errors_stay_what_they_are():
    assert user_error(OSError(errno.EIO, "Input/output error")) is None
    assert user_error(OSError("5 requested")) is None
    assert user_error(ValueError("no space left on device")) is None


@pytest.mark.parametrize(
    ("write", "partial"),
    [
        (lambda folder: write_text(folder / "metrics", "x"), "metrics.partial"),
        (lambda folder: save_png(torch.zeros(1, 8, 8, dtype=torch.uint8), folder / "m.png"), "m.png.partial"),
        (lambda folder: MetricsCsv(str(folder)).log_metrics({"a": 1.0}, 1), "metrics.csv.partial"),
    ],
    ids=["text", "picture", "metrics"],
)
def test_a_file_is_named_and_no_part_of_it_left(write, partial, tmp_path):
    (tmp_path / partial).symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as error:
        write(tmp_path)
    assert str(user_error(error.value)).startswith(f"{tmp_path / partial} cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_rank_without_disk_space_reports_on_stderr_once(tmp_path, capsys, monkeypatch):
    left = []
    monkeypatch.setattr("inkwash.launch.report._leave", left.append)
    (tmp_path / "error-rank-0.txt.partial").symlink_to(FULL)
    fail(tmp_path, "error: why")
    assert report_of_ranks(tmp_path, {0: left[0]}) == 1
    assert capsys.readouterr().err == "error: why\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_not_stay_running(tmp_path, monkeypatch):
    write, tries = write_text, []

    def refuse(path, text):
        tries.append(path)
        if path.exists():  # its room is needed
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    RunDirectory(tmp_path).write_status("running")
    monkeypatch.setattr("inkwash.files.write_text", refuse)
    train.write_failure(RunDirectory(tmp_path), "error: why")
    assert len(tries) == 2
    assert RunDirectory(tmp_path).status["state"] == "failed"


def test_errors_in_a_cycle_are_visited_once():
    """As by `raise mistake from None` where the mistake was the cause of what is handled."""
    first, second = UserError("first"), ValueError("second")
    first.__context__, second.__cause__ = second, first
    assert [*chain(second)] == [second, first]
    assert user_error(second) is first
