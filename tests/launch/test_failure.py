"""Tracebacks without the calls between."""

import pytest
import torch
from torch import nn

from inkwash.launch.failure import short_traceback


def caught(call):
    with pytest.raises(Exception, match=".") as found:
        call()
    return short_traceback(found.value)


def test_ours_and_the_last_call_stay():
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 2)))
    text = caught(lambda: net(torch.zeros(4, 5)))
    places = [line.strip() for line in text.splitlines() if line.startswith("  ") and not line.startswith("    ")]
    assert len(places) == 4
    assert "in caught" in places[0]
    assert "in <lambda>" in places[1]
    assert places[2].startswith("... ")
    assert places[2].endswith(" calls inside torch")
    assert places[3].endswith("in forward")
    assert "linear.py" in places[3]
    assert text.splitlines()[-1].startswith("RuntimeError: ")


def test_the_cause_is_shortened_too():
    def fail():
        try:
            nn.Sequential(nn.Sequential(nn.Linear(3, 2)))(torch.zeros(4, 5))
        except RuntimeError as error:
            raise ValueError("later") from error

    text = caught(fail)
    assert text.count("calls inside torch") == 1
    assert "direct cause" in text
    assert text.endswith("ValueError: later")


def test_a_text_alone_is_what_python_writes():
    assert caught(lambda: int("x")).endswith("ValueError: invalid literal for int() with base 10: 'x'")
