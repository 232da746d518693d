"""The wrappers against diffusers itself."""

import json

import pytest
import torch

from inkwash.autoencoders.base import Identity
from inkwash.autoencoders.pretrained import KL, Tiny
from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.random import generator
from support.autoencoders import save_kl, save_tiny

SHAPE, LATENT = [1, 8, 8], [2, 4, 4]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("autoencoders")
    return folder, save_kl(folder / "kl"), save_tiny(folder / "tiny")


def images(n: int) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=generator("images")) * 2 - 1


@torch.no_grad()
def test_kl_draws_as_diffusers_does(folders):
    folder, theirs, _ = folders
    ae, x = KL(str(folder / "kl"), SHAPE, LATENT), images(5)
    eps = torch.randn(5, *LATENT, generator=generator("noise"))
    distribution = theirs.encode(x).latent_dist
    assert torch.equal(ae.encode(x), distribution.mode())
    assert torch.allclose(ae.encode(x, eps), distribution.sample(generator("noise")), atol=1e-6)
    z = distribution.mode()
    assert torch.equal(ae.decode(z), theirs.decode(z).sample)


@torch.no_grad()
def test_tiny_is_diffusers(folders):
    folder, _, theirs = folders
    ae, x = Tiny(str(folder / "tiny"), SHAPE, LATENT), images(5)
    assert not ae.draws
    assert torch.equal(ae.encode(x), theirs.encode(x).latents)
    assert torch.equal(ae.decode(ae.encode(x)), theirs.decode(theirs.encode(x).latents).sample)


def test_latents_of_a_mirror_image_are_not_mirrored(folders):
    """Why both are encoded."""
    ae, x = KL(str(folders[0] / "kl"), SHAPE, LATENT), images(5)
    assert (ae.encode(x.flip(-1)) - ae.encode(x).flip(-1)).abs().max() > 0.05


def test_fingerprint_is_of_the_weights(folders, tmp_path):
    one = KL(str(folders[0] / "kl"), SHAPE, LATENT)
    first = one.fingerprint
    one.measure([one.moments_of(images(20))])
    assert KL(str(folders[0] / "kl"), SHAPE, LATENT, std=0.5, batch_size=1).fingerprint == first == one.fingerprint
    save_kl(tmp_path / "other", seed=1)
    assert KL(str(tmp_path / "other"), SHAPE, LATENT).fingerprint != first
    assert not any(parameter.requires_grad for parameter in one.parameters())


@pytest.mark.parametrize(("choice", "kind"), [("kl", KL), ("tiny", Tiny), ("none", Identity)])
def test_every_choice_instantiates(choice, kind, folders, compose_config):
    path = () if choice == "none" else (f"autoencoder.path={folders[0] / choice}",)
    config = compose_config(f"autoencoder={choice}", *path)
    ae = build(config["autoencoder"])
    assert type(ae) is kind
    assert list(ae.latent_shape) == config["model"]["shape"]
    assert ae.encode(images(2)).shape == (2, *ae.latent_shape)


def test_unusable_folders(folders, tmp_path):
    folder = folders[0]
    with pytest.raises(UserError, match=r"is for images of 1 channels, but data.shape=\[3, 8, 8\]"):
        KL(str(folder / "kl"), [3, 8, 8], LATENT)
    with pytest.raises(UserError, match=r"holds AutoencoderTiny, not AutoencoderKL: use autoencoder=tiny"):
        KL(str(folder / "tiny"), SHAPE, LATENT)
    (tmp_path / "config.json").write_text((folder / "kl" / "config.json").read_text())
    with pytest.raises(UserError, match="diffusion_pytorch_model.safetensors is missing"):
        KL(str(tmp_path), SHAPE, LATENT)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes((folder / "tiny" / weights.name).read_bytes())
    with pytest.raises(UserError, match="lacks|cannot be loaded"):
        KL(str(tmp_path), SHAPE, LATENT)
    weights.write_bytes((folder / "kl" / weights.name).read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        KL(str(tmp_path), SHAPE, LATENT)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "AutoencoderDC"}))
    with pytest.raises(UserError, match="holds AutoencoderDC"):
        KL(str(tmp_path), SHAPE, LATENT)
