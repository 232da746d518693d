"""Draws, normalisation and parts, on an autoencoder that is exactly known."""

import pytest
import torch

from inkwash.autoencoders.base import Identity, latent_noise
from inkwash.errors import UserError
from inkwash.random import generator
from support.autoencoders import blocks

SHAPE = [3, 8, 6]


def images(n: int) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=generator("images")) * 2 - 1


def test_noise_is_a_function_of_seed_epoch_and_index():
    whole = latent_noise((12, 4, 3), 0, "train", 3, range(10))
    parts = [latent_noise((12, 4, 3), 0, "train", 3, indices) for indices in ([7], [2, 9])]
    assert torch.equal(torch.cat(parts), whole[[7, 2, 9]])
    assert abs(float(whole.mean())) < 0.1
    assert abs(float(whole.std()) - 1) < 0.1
    for other in ((1, "train", 3), (0, "heldout", 3), (0, "train", 4)):
        assert not torch.equal(whole, latent_noise((12, 4, 3), *other, range(10)))


def test_normalised_latents_have_mean_0_and_the_deviation_asked_for():
    ae, x = blocks(SHAPE, std=0.5), images(4000)
    ae.measure(ae.moments_of(part) for part in x.split(1000))
    z = ae.encode(x, latent_noise(ae.latent_shape, 0, "train", 0, range(len(x))))
    assert z.mean(dim=(0, 2, 3)).abs().max() < 0.01
    assert (z.std(dim=(0, 2, 3)) - 0.5).abs().max() < 0.005


def test_the_normalisation_is_that_of_draws_in_closed_form():
    """3 U(-1, 1) + 1 + 0.1 eps: variance 3 + 0.01."""
    ae, x = blocks(SHAPE), images(4000)
    ae.measure(ae.moments_of(part) for part in x.split(1000))
    assert (ae.mean - 1).abs().max() < 0.05
    assert (ae.dev**2 - 3.01).abs().max() < 0.05
    exact = (3 * x.double()).var(unbiased=False) + 0.01
    assert float((ae.dev.double() ** 2).mean()) == pytest.approx(float(exact), rel=2e-3)


def test_decoding_undoes_encoding_by_means():
    ae, x = blocks(SHAPE, std=0.5), images(50)
    ae.measure([ae.moments_of(x)])
    assert torch.allclose(ae.decode(ae.encode(x)), x, atol=1e-6)


def test_the_size_of_parts_changes_nothing():
    x, one, many = images(50), blocks(SHAPE, batch_size=1), blocks(SHAPE, batch_size=64)
    assert torch.equal(one.encode(x), many.encode(x))
    assert torch.equal(one.decode(one.encode(x)), many.decode(many.encode(x)))


def test_normalisation_survives_plain_numbers():
    ae, again, x = blocks(SHAPE), blocks(SHAPE), images(50)
    ae.measure([ae.moments_of(x)])
    again.restore(ae.normalisation())
    assert again.measured
    assert torch.equal(ae.encode(x), again.encode(x))


def test_latents_that_do_not_vary_are_refused():
    with pytest.raises(UserError, match="is it trained"):
        blocks(SHAPE).measure([torch.full((2, 24, 4, 3), float("nan"))])


def test_identity_changes_no_bit():
    ae, x = Identity(SHAPE), images(50)
    ae.measure([x])
    assert not ae.draws
    assert torch.equal(ae.encode(x), x)
    assert torch.equal(ae.decode(x), x)
