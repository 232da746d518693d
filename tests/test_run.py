"""A run loaded from its directory."""

import pytest
import torch

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from support.training import NO_METRIC


def test_a_learned_variance_is_sampled_from(fit_run):
    """The second head reaches the sampler: another head, other images; and a network without it is refused."""
    learned = "sampler.variance._target_=inkwash.process.variances.LearnedRange"
    hybrid = ("model.learn_variance=true", "loss=hybrid", "sampler=ancestral", NO_METRIC)
    directory, _, _ = fit_run("learned", *hybrid, learned)
    run, sampler = load_run(directory), build(RunDirectory(directory).config["sampler"])
    before = run.sample(4, sampler=sampler)
    run.denoiser.net.output[2].bias.data[1:] += 1
    assert not torch.equal(run.sample(4, sampler=sampler), before)
    with pytest.raises(UserError, match="needs a network that learns it"):
        fit_run("fixed", NO_METRIC, "sampler=ancestral", learned)
