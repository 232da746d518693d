"""What an evaluation counts as the price of its images, keeps, and refuses before it draws any."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from inkwash.config.paths import config_dir
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.guidance import AutoGuidance, ClassifierFree
from inkwash.jobs import evaluate
from inkwash.jobs.image_sources import Counter
from inkwash.process.predictions import X0
from inkwash.process.schedules import EDMSchedule
from inkwash.process.spacing import Trailing
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate
from inkwash.samplers.heun import Heun

SCHEDULE, N, STEPS = EDMSchedule(), 6, 4
CPU = torch.device("cpu")


class Zero(nn.Module):
    """A network that counts for itself the images it is shown."""

    num_classes = 10
    seen = 0

    def forward(self, x, time, y=None):
        self.seen += len(x)
        return torch.zeros_like(x)


def counted(guide, sampler):
    """(images counted, images that the two networks saw), for N images in batches of 4."""
    good, bad = Zero(), Zero()
    denoiser = guide(Denoiser(good, SCHEDULE, X0()), Denoiser(bad, SCHEDULE, X0()))
    counter = Counter(denoiser)
    for _ in generate(denoiser, sampler, (1, 2, 2), range(N), torch.arange(N), batch_size=4):
        pass
    return counter.images, good.seen + bad.seen


@pytest.mark.parametrize(
    ("guide", "calls"),
    {
        "none": (lambda good, bad: good, 1.0),
        "classifier-free": (lambda good, bad: ClassifierFree(good, 2.0), 2.0),
        "auto": (lambda good, bad: AutoGuidance(good, 2.0, bad), 2.0),
    }.values(),
)
@pytest.mark.parametrize(("sampler", "each"), [(DDIM, 1), (Heun, 2 - 1 / STEPS)])
def test_every_call_of_every_network_counts(guide, calls, sampler, each):
    found, seen = counted(guide, sampler(Trailing(STEPS)))
    assert found == seen
    assert found / N == calls * each * STEPS


def test_outside_its_interval_the_worse_network_costs_nothing():
    spacing = Trailing(STEPS)
    ratios = SCHEDULE.sigma_over_alpha(torch.as_tensor(spacing(SCHEDULE)))[:-1]
    low = float(ratios.sort().values[1])  # guided above the second lowest time
    found, seen = counted(lambda good, bad: AutoGuidance(good, 2.0, bad, interval=[low, 1e9]), DDIM(spacing))
    assert found == seen
    assert found / N == STEPS + STEPS - 2


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
def test_a_likelihood_that_the_run_has_not_is_refused_before_any_image(
    schedule, likelihood, change, message, tmp_path, monkeypatch, compose_config
):
    bits = OmegaConf.merge(OmegaConf.load(CONF / "likelihood" / f"{likelihood}.yaml"), change)
    refused(schedule, bits, [SAMPLER], message, tmp_path, monkeypatch, compose_config)


def test_a_sampler_of_a_later_cell_is_refused_before_any_image(tmp_path, monkeypatch, compose_config):
    heun = {**SAMPLER, "_target_": "inkwash.samplers.heun.Heun"}
    refused(
        "cosine", None, [SAMPLER, heun], "sampler=heun steps in sigma / alpha", tmp_path, monkeypatch, compose_config
    )


def refused(schedule, bits, samplers, message, tmp_path, monkeypatch, compose_config):
    """An evaluation of a run on the schedule ends before anything is prepared."""
    monkeypatch.setattr(evaluate, "prepared_suite", lambda *_: pytest.fail("prepared to measure"))
    monkeypatch.setattr(evaluate, "measure", lambda *_: pytest.fail("measured"))
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


def test_what_changes_while_it_is_measured_is_not_kept(tmp_path, monkeypatch):
    """A training that goes on writes last.ckpt anew: no rank, and no cell, may have taken the other one."""
    keys = iter(["before", "after"])
    monkeypatch.setattr(evaluate, "key_of", lambda *_: next(keys))
    monkeypatch.setattr(evaluate, "prepared_suite", lambda *_: None)
    monkeypatch.setattr(evaluate, "measure", lambda *_: {"name": "one"})
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


def test_a_kept_result_is_read_and_a_damaged_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "key_of", lambda *_: "key")
    path = tmp_path / "cells" / "key.json"
    assert evaluate.kept(tmp_path, {}, {}, None, CPU) == (path, None)
    path.parent.mkdir()
    path.write_text('{"name": "one"}')
    assert evaluate.kept(tmp_path, {}, {}, None, CPU) == (path, {"name": "one"})
    path.write_text('{"name": "o')
    assert evaluate.kept(tmp_path, {}, {}, None, CPU) == (path, None)
