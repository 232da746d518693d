"""What an evaluation refuses by the run's schedule and classes."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from inkwash.errors import UserError
from inkwash.jobs.evaluation_checks import check_labels, check_path
from inkwash.runs.directory import RunDirectory

DDIM, HEUN = (
    {
        "_target_": f"inkwash.samplers.{name}",
        "spacing": {"_target_": "inkwash.process.spacing.Trailing", "steps": 4},
    }
    for name in ("ddim.DDIM", "heun.Heun")
)


def test_a_refused_sampler_leaves_the_other_cells(tmp_path, compose_config):
    RunDirectory(tmp_path).write_config(compose_config("schedule=cosine"))
    cells = [{"name": "sampler=ddim", "sampler": DDIM}, {"name": "sampler=heun", "sampler": HEUN}]
    found = check_path({"run": str(tmp_path), "likelihood": None, "cells": cells})
    assert found.keys() == {"sampler=heun"}
    assert "sampler=heun steps in sigma / alpha" in found["sampler=heun"]


@pytest.mark.parametrize(
    ("known", "bits", "refused"), [(3, {}, True), (4, {}, False), (None, {}, False), (3, None, False)]
)
def test_a_likelihood_of_unknown_classes_is_refused(known, bits, refused, tmp_path, compose_config):
    classes = "null" if known is None else known
    RunDirectory(tmp_path).write_config(compose_config(f"model.num_classes={classes}", f"data.num_classes={classes}"))
    data = SimpleNamespace(heldout=SimpleNamespace(labels=torch.tensor([-1, 0, 3])))
    config = {"run": str(tmp_path), "likelihood": bits}
    with pytest.raises(UserError, match="labels up to 3, but run=") if refused else contextlib.nullcontext():
        check_labels(config, data)
