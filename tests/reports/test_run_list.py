"""A list of runs at any width."""

import time
from pathlib import Path

import pytest

from inkwash.reports.run_list import lines_of, shortened
from inkwash.runs.overview import Row

NAME = "digits-unet_small-cosine-v-1129-050338"
METRIC = ("fd_classifier_1350", True)


def rows():
    now = time.time()
    return [
        Row(Path("runs", NAME), "finished", 2000, 2000, "", *METRIC, 0.53214, 0.41, now - 7300),
        Row(Path("runs/bad"), "failed", 0, 2000, f"out of memory ({'x' * 80}): fewer images", time=now - 200),
        Row(Path("runs/mine"), "sweep", 3, 4, "", *METRIC, 0.6, None, now),
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_a_terminal(width):
    lines = lines_of(rows(), Path("runs"), width)
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["run", "state", "step", "best", "real", "age"]
    assert lines[1].split()[1:] == ["finished", "2000/2000", "0.5321", "0.41", "2", "h"]
    assert lines[1].split()[0].endswith("050338")
    assert lines[2].split() == ["bad", "failed", "0/2000", "3", "min"]
    assert lines[3].startswith("    out of memory (x")
    assert lines[3].endswith("…") or width == 120
    assert lines[-1].startswith("best, and what real images reach: fd_classifier_1350")


def test_values_of_another_metric_are_marked():
    other = Row(Path("runs/new"), "running", 9, 9, "", "heldout_loss", True, 0.7, None, time.time())
    lines = lines_of([*rows(), other], Path("runs"))
    assert lines[-2].split()[3] == "0.7*"
    assert lines[-1].endswith("fd_classifier_1350 (less is better), * heldout_loss (less is better)")


def test_a_file_has_it_whole():
    lines = lines_of(rows(), Path("runs"))
    assert NAME in lines[1]
    assert lines[3].endswith("fewer images")
    assert len({line.index(word) for line, word in zip(lines, ("state", "finished", "failed"), strict=False)}) == 1


def test_a_name_loses_its_middle():
    assert shortened(NAME, 38) == NAME
    assert len(shortened(NAME, 20)) == 20
    assert shortened(NAME, 20).startswith("digits-")
    assert shortened(NAME, 20).endswith("1129-050338")
