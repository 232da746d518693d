"""Tasks on latents: inputs are encoded, rows decoded, on an autoencoder and a denoiser that are exactly known."""

import pytest
import torch
from PIL import Image

from inkwash.editing.perform import perform
from inkwash.editing.tasks import Generate, Inpaint, Reconstruct
from inkwash.images import to_float
from inkwash.process.betas import cosine
from inkwash.process.schedules import BetaSchedule
from inkwash.process.spacing import Trailing
from inkwash.random import generator
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate
from support.analytic import GaussianDenoiser
from support.autoencoders import blocks

SHAPE = [1, 4, 4]


@pytest.fixture
def parts():
    ae = blocks(SHAPE)
    x_0 = torch.randint(0, 256, (3, 1, *SHAPE), generator=generator("images"), dtype=torch.uint8)
    ae.measure([ae.moments_of(to_float(x_0[:, 0]))])
    denoiser = GaussianDenoiser(BetaSchedule(cosine(100)), mu=0.0, s=1.0)
    return ae, denoiser, DDIM(Trailing(50), clip=None), x_0


def rows(task, parts, batch_size=256):
    ae, denoiser, sampler, x_0 = parts
    x_0 = x_0 if task.inputs else x_0[:, :0]
    return torch.cat([r for _, r in perform(task, denoiser, sampler, x_0, batch_size=batch_size, autoencoder=ae)])


def test_generating_is_that_of_the_sampler_decoded(parts):
    ae, denoiser, sampler, _ = parts
    drawn = generate(denoiser, sampler, ae.latent_shape, range(3), decode=ae.decode)
    assert torch.equal(rows(Generate(), parts)[:, 0], torch.cat([images for _, images in drawn]))


def test_reconstruction_comes_back_to_the_images(parts):
    found = rows(Reconstruct(1.0), parts)
    assert torch.equal(found[:, 0], parts[-1][:, 0])  # the autoencoder is exact
    assert (found[:, 2].int() - found[:, 0].int()).abs().max() <= 8


def test_inpainting_paints_the_blocks_that_hold_a_hidden_pixel(parts):
    found = rows(Inpaint("left", resamples=1, jump_length=1), parts)
    assert found.shape == (3, 3, *SHAPE)
    assert torch.equal(found[..., 2:][:, 2], parts[-1][:, 0][..., 2:])
    assert not torch.equal(found[..., :2][:, 2], parts[-1][:, 0][..., :2])


def test_a_mask_that_cuts_through_blocks(parts, tmp_path):
    mask = torch.zeros(4, 4, dtype=torch.uint8)
    mask[0, 1] = 255
    Image.fromarray(mask.numpy()).save(tmp_path / "mask.png")
    found = rows(Inpaint(str(tmp_path / "mask.png"), resamples=1, jump_length=1), parts)
    changed = (found[:, 2] != parts[-1][:, 0]).any(dim=0)[0]
    assert bool(changed[:2, :2].any())
    changed[:2, :2] = False
    assert not bool(changed.any())


def test_the_size_of_batches_changes_nothing(parts):
    assert torch.equal(rows(Generate(), parts), rows(Generate(), parts, batch_size=2))
