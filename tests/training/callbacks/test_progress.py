"""The progress bar: in a log file, and in real terminals of several widths."""

import contextlib
import fcntl
import logging
import os
import pty
import struct
import sys
import termios
from types import SimpleNamespace

import pytest

from inkwash.errors import UserError
from inkwash.reports.progress_bar import BesideBar
from inkwash.training.callbacks.periodic import showing
from inkwash.training.callbacks.progress import Progress, line_format

TEXTS = ["loss 0.1234", "1234 images/s", "fd_classifier_1350 0.532", "accuracy_classifier_1350 0.987"]


def test_a_log_file_gets_a_line_for_each_redraw(capsys):
    trainer = SimpleNamespace(max_steps=4, global_step=0, is_global_zero=True)
    latest = {"train/loss": 0.5, "train/images_per_second": 80.0}
    module = SimpleNamespace(latest=latest, scores={"fd_test_8": 1.25})
    bar = Progress(log_seconds=0.0)
    bar.on_train_start(trainer, module)
    for step in (1, 1, 2, 3, 4):  # two micro-batches in the first step
        trainer.global_step = step
        bar.on_train_batch_end(trainer, module, None, None, 0)
        bar.show_activity("measuring")
        bar.show_activity(None)
    bar.on_train_end(trainer, module)
    lines = capsys.readouterr().err.splitlines()
    assert "training   0%" in lines[0]
    assert "4/4 steps" in lines[-1]
    assert "loss 0.5000, 80 images/s, fd_test_8 1.25" in lines[-1]
    assert all("\r" not in line for line in lines)
    assert ["measuring" in line for line in lines] == [*[False] * (len(lines) - 2), True, False]  # after the last step


def test_a_negative_interval_is_refused():
    with pytest.raises(UserError, match=r"callbacks.progress.log_seconds=-1 must not be negative"):
        Progress(-1)


@pytest.mark.parametrize("total", [200, 2000, 800_000])
@pytest.mark.parametrize("width", [60, 80, 200, None])
def test_the_least_important_goes_first(width, total):
    line = line_format(width, total, "measuring", TEXTS)
    shown = [text for text in TEXTS if text in line]
    assert shown == TEXTS[: len(shown)]
    assert len(shown) == {60: 1, 80: 2, 200: 4, None: 4}[width]
    text = line.format(desc="measuring", percentage=100, n_fmt=total, total_fmt=total, remaining="99:59:59", bar="")
    assert len(text) <= (width or 500)
    assert ("{bar:20}" in line) == (width in (200, None))


def draw():
    """Draw two steps of a training, with a message after each."""
    log = logging.Logger("test", "INFO")
    log.addHandler(BesideBar(sys.stderr))
    bar = Progress()
    trainer = SimpleNamespace(max_steps=2000, global_step=0, is_global_zero=True, callbacks=[bar])
    latest = {"train/loss": 0.5, "train/images_per_second": 800.0}
    module = SimpleNamespace(latest=latest, scores={"fd_classifier_1350": 1.25})
    bar.on_train_start(trainer, module)
    for step in (1, 2):
        trainer.global_step = step
        bar.on_train_batch_end(trainer, module, None, None, 0)
        with showing(trainer, "drawing"):
            log.info("samples      first 10 images")
    bar.on_train_end(trainer, module)


def written_in_a_terminal(width, rows=24):
    """Return what `draw` writes to a terminal of this width, a real one, in a process of its own."""
    pid, master = pty.fork()
    if pid == 0:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        os.read(0, 1)  # the width is set
        try:
            draw()
        finally:
            sys.stderr.flush()
            os._exit(0)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))
    os.write(master, b"\n")
    written = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(master, 65536):
            written += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return written.decode()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_in_a_terminal(width):
    """What is seen in the end, carriage returns applied: no line is too long, and none holds a bar and a message."""
    written = written_in_a_terminal(width)
    drawn = [part for line in written.split("\r\n") for part in line.split("\r")]
    assert max(map(len, drawn)) < width
    assert any(part.startswith("drawing") for part in drawn)
    shown = [line.split("\r")[-1] for line in written.split("\r\n")]
    assert shown.count("samples      first 10 images") == 2
    assert any("loss 0.5000" in line for line in shown)
    assert ("fd_classifier_1350 1.25" in written) == (width == 200)


def test_in_a_terminal_without_a_size():
    assert "loss 0.5000" in written_in_a_terminal(0, rows=0)
