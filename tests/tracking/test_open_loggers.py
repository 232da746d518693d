"""Loggers of a configuration: ours, Lightning's and the user's own, one or several."""

import csv
import importlib.util

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from inkwash.config.packages import NEEDED, check_packages
from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.open_loggers import VARIABLES, flat, open_loggers
from inkwash.tracking.pictures import send_picture, send_samples
from support.runs import composed
from support.training import QUIET, rows

LIGHTNINGS = ("CSVLogger", "TensorBoardLogger", "MLFlowLogger")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("csv", ["csv"]), ("[csv]", ["csv"]), ("tensorboard", ["csv", "tensorboard"]), ("[]", ["csv"]),
        ("[wandb,tensorboard,mlflow]", ["csv", "wandb", "tensorboard", "mlflow"]),
    ],
)  # fmt: skip
def test_one_name_or_a_list(choice, names):
    assert [*composed(f"logger={choice}")["logger"]] == names


def test_without_a_choice_it_is_wandb():
    assert [*composed()["logger"]] == ["csv", "wandb"]


@pytest.mark.parametrize("target", NEEDED)
def test_a_package_that_is_not_installed_is_one_sentence(target, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"logger.mine needs the package \w+, which is not installed: pip install '"):
        check_packages({"csv": {"_target_": "inkwash.tracking.csv_logger.MetricsCsv"}, "mine": {"_target_": target}})


def test_each_is_told_the_run_directory_by_the_argument_that_it_has(tmp_path, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "run.json").write_text('{"id": "abc", "sweep": null}')
    targets = ("inkwash.tracking.csv_logger.MetricsCsv", *(f"lightning.pytorch.loggers.{n}" for n in LIGHTNINGS))
    nodes = {target: {"_target_": target} for target in targets}
    nodes["there"] = {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "elsewhere"}
    ours, *theirs, there = open_loggers(nodes, RunDirectory(tmp_path))
    assert ours.path == tmp_path / "metrics.csv"
    assert {str(logger.save_dir) for logger in theirs} == {str(tmp_path)}
    assert there.save_dir == "elsewhere"


def test_one_of_lightnings_gets_every_row(fit_run):
    node = "+logger.table={_target_: lightning.pytorch.loggers.CSVLogger, name: table, version: ''}"
    directory, _, _ = fit_run("run", node, *QUIET)
    with open(directory / "table" / "metrics.csv", newline="") as file:
        theirs = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    # Lightning's has a row for each call.
    together = {step: {} for step in sorted({row["step"] for row in theirs})}
    for row in theirs:
        together[row["step"]] |= row
    assert [*together.values()] == rows(directory)


class Pictured:
    """What is called to show pictures, in place of a dashboard."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, *args, options))


def test_lightnings_loggers_are_sent_pictures_by_their_own_methods(tmp_path):
    sheet = torch.zeros(3, 4, 6, dtype=torch.uint8)
    board = TensorBoardLogger(str(tmp_path))
    board._experiment = Pictured()
    send_samples(board, sheet, sheet[None], None, 5)
    assert [(call[0], call[1], call[3]) for call in board.experiment.calls] == [("add_image", "samples", 5)]
    send_picture(CSVLogger(str(tmp_path)), "samples", sheet, 5)  # has no way for them


def test_a_logger_of_ones_own_is_sent_what_it_has_a_method_for():
    sheet = torch.zeros(3, 4, 6, dtype=torch.uint8)

    calls = []

    class Own:
        def log_picture(self, name, picture, step):
            calls.append((name, tuple(picture.shape), step))

    send_samples(Own(), sheet, sheet[None], None, 5)
    send_picture(Own(), "neighbours", sheet, 6)
    send_picture(object(), "neighbours", sheet, 6)
    assert calls == [("samples", (3, 4, 6), 5), ("neighbours", (3, 4, 6), 6)]


def test_flat():
    assert flat({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": "[1, 2]", "d": "None"}
