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


def on_terminal(code, columns):
    """Return what a program writes on a terminal of so many columns."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, columns))
    imports = "import logging, sys\nfrom inkwash.reports.progress_bar import BesideBar, progress_bar\n"
    subprocess.run([sys.executable, "-c", imports + code], stderr=child, check=True, timeout=60)
    os.close(child)
    text = os.read(parent, 10_000).decode()
    os.close(parent)
    return text


@pytest.mark.parametrize(("columns", "cells"), [(60, 4), (80, 10), (120, 20)])
def test_a_narrow_terminal_has_a_shorter_bar(columns, cells):
    text = on_terminal(
        "bar = progress_bar(total=2, desc='training', unit='steps')\nbar.update(2)\nbar.close()", columns
    )
    assert f"100% {'#' * cells} 2/2 steps" in text.replace("█", "#")


def test_a_line_of_the_log_begins_at_the_edge_of_the_terminal():
    text = on_terminal(
        "logging.getLogger().addHandler(BesideBar(sys.stderr))\n"
        "bar = progress_bar(total=2, desc='training', unit='steps')\nlogging.warning('samples')\nbar.close()",
        80,
    )
    before, _, after = text.partition("samples\r\n")
    assert before.endswith("\r")  # the bar is blanked out
    assert before.split("\r")[-2].strip() == ""
    assert "training   0%" in after
