"""Colour on the console."""

import io
import logging

import pytest
from rich.console import Console

from inkwash.training.log_setup import ConsoleFormatter


def written(message, level=logging.INFO, **options):
    formatter = ConsoleFormatter(Console(file=io.StringIO(), **options))
    return formatter.format(logging.LogRecord("inkwash", level, "", 0, message, (), None))


TERMINAL = {"force_terminal": True, "color_system": "standard"}


@pytest.mark.parametrize("label", ["model", "W&B", "fits"])
def test_a_label_is_coloured(label):
    message = f"{label:<13}unet_small:  652,449 parameters"
    assert written(message, **TERMINAL) == message.replace(label, f"\x1b[36m{label}\x1b[0m")


@pytest.mark.parametrize("message", ["training the metrics' classifier once", "fd_x 0.19", "runs/a    next: x"])
def test_other_lines_are_left_as_they_are(message):
    assert written(message, **TERMINAL) == message


def test_a_warning_is_yellow():
    assert written("it differs", logging.WARNING, **TERMINAL) == "\x1b[33mit differs\x1b[0m"


@pytest.mark.parametrize(
    "options", [{}, {**TERMINAL, "no_color": True}, {"force_terminal": True, "color_system": None}]
)
def test_without_colours_there_are_none(options):
    for level in (logging.INFO, logging.WARNING):
        assert written("model        unet_small", level, **options) == "model        unet_small"
