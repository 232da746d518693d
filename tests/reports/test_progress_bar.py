"""Bars in a log file; on a terminal tqdm draws them."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from inkwash.reports.progress_bar import progress_bar


def test_a_log_file_gets_whole_lines(capsys):
    for _ in progress_bar(range(3), log_seconds=0.0, desc="measuring", unit="images"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert "measuring  33%" in lines[0]
    assert "3/3 images, 00:00 left" in lines[-1]
    assert all("\r" not in line for line in lines)


def test_what_is_over_at_once_leaves_a_log_file_alone(capsys):
    for _ in progress_bar(range(3), desc="measuring", unit="images"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("columns", "cells"), [(60, 4), (80, 10), (120, 20)])
def test_a_narrow_terminal_has_a_shorter_bar(columns, cells):
    code = (
        "from inkwash.reports.progress_bar import progress_bar\n"
        "bar = progress_bar(total=2, desc='training', unit='steps')\nbar.update(2)\nbar.close()"
    )
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, columns))
    subprocess.run([sys.executable, "-c", code], stderr=child, check=True, timeout=60)
    os.close(child)
    text = os.read(parent, 10_000).decode().replace("█", "#")
    os.close(parent)
    assert f"100% {'#' * cells} 2/2 steps" in text
