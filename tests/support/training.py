"""Overrides of quick trainings, and what they leave: weights, checkpoints, rows of metrics.csv."""

import csv

import torch

# The files that the page of a run consists of.
PAGE = (
    "report.html", "report/config.json",
    *(f"report/{name}.{kind}" for name in ("forward", "nearest", "real", "reverse") for kind in ("json", "png")),
    "report/schedules.json",
)  # fmt: skip
NO_METRIC = "~callbacks.evaluation"
QUIET = (NO_METRIC, "~callbacks.samples")


def weights(module):
    """Return all parameters of a module in one vector."""
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def checkpoint(directory, name="last.ckpt"):
    """Load a checkpoint of a run. The default of torch.load is weights_only=True: every file of ours must pass it."""
    return torch.load(directory / "checkpoints" / name, weights_only=True)


def rows(directory):
    """Return the rows of metrics.csv as numbers, without empty cells."""
    with open(directory / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
