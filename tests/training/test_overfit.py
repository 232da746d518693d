"""Trainings that learn their images by heart."""

import csv

import pytest
import torch

from inkwash.process.spacing import Trailing
from inkwash.run import load_run
from inkwash.samplers.ddim import DDIM
from support.training import NO_METRIC, rows

WITNESS = "+callbacks.witness._target_=support.parts.Witness"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_batch_is_learnt_by_heart(fit_run):
    """In 600 steps its loss falls from 0.76 to 0.02; the first quarter of them shows it."""
    steps = ("trainer.max_steps=150", "learning_rate.total_steps=600")
    directory, *_ = fit_run("run", "debug=overfit", "model.channels=32", *steps, "~callbacks.evaluation", WITNESS)
    batches = [torch.load(directory / f"witness-0-{step}.pt")["images"] for step in (1, 2, 75, 150)]
    assert all(torch.equal(batches[0], batch) for batch in batches)
    with open(directory / "metrics.csv") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 8
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
def test_sixteen_images_are_learnt_by_heart(fit_run):
    """Samples of a model of 16 images lie near them, where fresh images of the same kind do not."""
    options = (
        "~data.source",
        "+data.source={_target_: support.parts.Pictures, n: 16}",
        "data.num_classes=null",
        NO_METRIC,
    )
    scale = (
        "trainer.max_steps=500",
        "weighting=min_snr",
        "optimizer=adamw",
        "optimizer.lr=0.002",
        "model.channels=32",
        "callbacks.log.every_n_steps=20",
        "loss.label_dropout=0.0",
    )
    cadence = ("callbacks.checkpoint.every_n_steps=500", "~callbacks.samples", "learning_rate.warmup_steps=20")
    directory, trainer, _ = fit_run("run", *options, *scale, *cadence)
    losses = [row["train/loss"] for row in rows(directory) if "train/loss" in row]
    assert sum(losses[-5:]) / 5 < 0.3 * losses[0]
    samples = load_run(directory).sample(32, sampler=DDIM(Trailing(25)), guidance=1.0).float()
    train = trainer.datamodule.train.images.float()
    fresh = trainer.datamodule.heldout.images.float()
    nearest, control = (
        torch.cdist(x.flatten(1), train.flatten(1)).min(dim=1).values.median() for x in (samples, fresh)
    )
    assert nearest < 0.6 * control
