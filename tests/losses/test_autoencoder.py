"""Loss of an autoencoder against torch.distributions, on one whose latents are known."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.autoencoder import AutoencoderLoss
from inkwash.losses.distances import L2
from inkwash.process.betas import cosine
from inkwash.process.predictions import V
from inkwash.process.schedules import BetaSchedule
from inkwash.process.times import Uniform
from inkwash.random import Draws, generator


class Linear(nn.Module):
    """Latents 2 x with log variance x, decoded by z / 2 + 1."""

    num_classes, reconstructs, latent_shape = None, True, (1, 4, 4)

    def moments(self, x):
        return 2 * x, x

    def decode(self, z):
        return z / 2 + 1


def test_loss_is_reconstruction_and_divergence():
    x = torch.randn(500, 1, 4, 4, generator=generator("x"))
    denoiser = Denoiser(Linear(), BetaSchedule(cosine(10)), V())
    loss = AutoencoderLoss(L2(), 0.3, Uniform())
    kl = kl_divergence(Normal(2 * x, (x / 2).exp()), Normal(0.0, 1.0)).mean(dim=(1, 2, 3))
    # decode(2 x + s eps) - x = s eps / 2 + 1
    eps = generator("draws")
    error = ((x / 2).exp() * torch.randn(x.shape, generator=eps) / 2 + 1).square().mean(dim=(1, 2, 3))
    terms = loss(denoiser, x, None, Draws([generator("draws")]))
    assert torch.allclose(terms.loss, error + 0.3 * kl, atol=1e-5)
    assert terms.t.shape == (500,)
    fixed = loss.objective(denoiser, x, torch.zeros_like(x), terms.t, None)
    assert torch.allclose(fixed, 1 + 0.3 * kl, atol=1e-5)


def test_it_needs_an_autoencoder():
    net = nn.Conv2d(1, 1, 1)
    with pytest.raises(UserError, match="use model=autoencoder_kl"):
        AutoencoderLoss(L2(), 0.3, Uniform()).check(Denoiser(net, BetaSchedule(cosine(10)), V()), False)
    with pytest.raises(UserError, match="loss.kl_weight=-1"):
        AutoencoderLoss(L2(), -1, Uniform())
