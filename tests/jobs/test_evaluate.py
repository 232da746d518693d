"""Evaluations: what they refuse before any image, and the results they store."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.jobs import evaluate
from inkwash.runs.directory import RunDirectory

CPU = torch.device("cpu")


CONF = Path(config_dir())
LEARNED = "inkwash.process.variances.LearnedRange"
SAMPLER = {
    "_target_": "inkwash.samplers.ddim.DDIM",
    "spacing": {"_target_": "inkwash.process.spacing.Trailing", "steps": 4},
}


@pytest.mark.parametrize(
    ("schedule", "likelihood", "change", "message"),
    [
        ("linear", "flow", {}, "the likelihood of the probability flow needs continuous time"),
        ("flow", "bound", {}, "the variational bound needs a chain of whole steps"),
        ("flow", "flow", {"spacing": {"steps": 1}}, "likelihood.spacing.steps=1 must be at least 2"),
        ("linear", "bound", {"variance": {"_target_": LEARNED}}, "needs a run with model.learn_variance=true"),
    ],
    ids=["chain", "continuous", "one time", "no head"],
)
def test_a_likelihood_the_schedule_lacks_is_refused_at_once(
    schedule, likelihood, change, message, tmp_path, monkeypatch, compose_config
):
    bits = OmegaConf.merge(OmegaConf.load(CONF / "likelihood" / f"{likelihood}.yaml"), change)
    refused(schedule, bits, [SAMPLER], message, tmp_path, monkeypatch, compose_config)


HEUN = {**SAMPLER, "_target_": "inkwash.samplers.heun.Heun"}


def test_a_sampler_that_the_schedule_refuses_ends_it_at_once(tmp_path, monkeypatch, compose_config):
    message = "sampler=heun steps in sigma / alpha"
    refused("cosine", None, [HEUN, HEUN], message, tmp_path, monkeypatch, compose_config)


def refused(schedule, bits, samplers, message, tmp_path, monkeypatch, compose_config):
    """An evaluation of a run on the schedule ends before anything is prepared."""
    monkeypatch.setattr(evaluate.Evaluation, "suite", lambda *_: pytest.fail("prepared to measure"))
    monkeypatch.setattr(evaluate.Evaluation, "measure", lambda *_: pytest.fail("measured"))
    RunDirectory(tmp_path).write_config(compose_config(f"schedule={schedule}"))
    config = {
        "run": str(tmp_path),
        "data": {"_target_": "torch.nn.Identity"},
        "trainer": {"accelerator": "cpu", "threads": 1, "precision": None},
        "likelihood": bits,
        "cells": [{"name": "one", "sampler": s, "num_images": 4, "checkpoint": "last.ckpt"} for s in samplers],
    }
    OmegaConf.save(config, tmp_path / "evaluate.yaml")
    with pytest.raises(UserError, match=message):
        evaluate.evaluate(tmp_path)


def test_a_cell_that_changes_while_measured_is_not_stored(tmp_path, monkeypatch):
    """A training that goes on writes last.ckpt anew: no rank, and no cell, may have taken the other one."""
    keys = iter(["before", "after"])
    monkeypatch.setattr(evaluate, "key_of", lambda *_: next(keys))
    monkeypatch.setattr(evaluate.Evaluation, "measure", lambda *_: {"name": "one"})
    config = {
        "run": None,
        "data": OmegaConf.merge(OmegaConf.load(CONF / "data" / "digits.yaml"), {"seed": 0}),
        "trainer": {"accelerator": "cpu", "threads": 1, "precision": None},
        "cells": [{"name": "one", "num_images": 4}],
    }
    OmegaConf.save(config, tmp_path / "evaluate.yaml")
    with pytest.raises(UserError, match="what one measures was changed meanwhile, its checkpoint perhaps"):
        evaluate.evaluate(tmp_path)
    assert not (tmp_path / "cells").exists()


def test_a_stored_result_is_read_and_a_damaged_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "key_of", lambda *_: "key")
    path, evaluation = tmp_path / "cells" / "key.json", evaluate.Evaluation(tmp_path, {}, None, 0, 1, CPU)
    assert evaluation.stored({}) == (path, None)
    path.parent.mkdir()
    path.write_text('{"name": "one"}')
    assert evaluation.stored({}) == (path, {"name": "one"})
    path.write_text('{"name": "o')
    assert evaluation.stored({}) == (path, None)
