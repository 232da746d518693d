"""Ancestral sampling (Ho et al. 2020, Algorithm 2)."""

import torch

from inkwash.denoiser import Denoiser
from inkwash.process.betas import linear
from inkwash.process.predictions import V
from inkwash.process.schedules import BetaSchedule
from inkwash.process.spacing import Trailing
from inkwash.process.variances import FixedLarge
from inkwash.samplers.ancestral import Ancestral
from support.networks import Wave

LINEAR = BetaSchedule(linear(1000))
DENOISER = Denoiser(Wave(), LINEAR, V())


def test_last_ancestral_step_is_the_mean():
    """Algorithm 2 of Ho et al. 2020 draws no noise there; FixedLarge's beta_1 would."""
    noises = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for last in (noises[1], 0 * noises[1]):
        feed = iter([noises[0], last])
        found.append(Ancestral(Trailing(1), FixedLarge())(DENOISER, lambda f=feed: next(f)))
    assert torch.equal(*found)
