"""debug=overfit does what it says: one batch, whose loss falls."""

import csv

import pytest
import torch

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
