"""What an evaluation refuses by the run's schedule and classes."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

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
    cells = [
        {"name": f"sampler={name}", "sampler": s, "weights": "ema"} for name, s in (("ddim", DDIM), ("heun", HEUN))
    ]
    found = check_path({"run": str(tmp_path), "likelihood": None, "cells": cells})
    assert found.keys() == {"sampler=heun"}
    assert "sampler=heun steps in sigma / alpha" in found["sampler=heun"]


def test_a_consistency_function_has_no_likelihood(tmp_path, compose_config):
    RunDirectory(tmp_path).write_config(compose_config("schedule=edm", "prediction=edm", "loss=consistency"))
    flow = {"_target_": "inkwash.likelihood.flow.FlowLikelihood"}
    with pytest.raises(UserError, match="^likelihood: what a network of ConsistencyLoss .* evaluate a run of loss=l2"):
        check_path({"run": str(tmp_path), "likelihood": flow, "cells": []})


def test_averages_that_the_snapshots_cannot_give_leave_the_others(tmp_path, compose_config):
    run = RunDirectory(tmp_path)
    run.write_config(compose_config())
    run.snapshots.mkdir()
    save_file({}, run.snapshots / "step-00000010.safetensors", {"exponents": '{"short": 17.97, "long": 7.94}'})
    cells = [{"name": w, "sampler": DDIM, "weights": w} for w in ("ema", "posthoc_0.07", "posthoc_0.28", "posthoc_1")]
    found = check_path({"run": str(tmp_path), "likelihood": None, "cells": cells})
    assert found.keys() == {"posthoc_0.28", "posthoc_1"}
    assert "1 snapshot up to step 10 can make this average only with an error of" in found["posthoc_0.28"]
    with pytest.raises(UserError, match="length=1 of an average must lie between"):
        check_path({"run": str(tmp_path), "likelihood": None, "cells": cells[-1:]})


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
