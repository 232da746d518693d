"""The autoencoder that is trained here, and the whole way from it to images drawn of its latents."""

import pytest
import torch

from inkwash.autoencoders.network import KLNetwork
from inkwash.autoencoders.pretrained import KL
from inkwash.errors import UserError
from inkwash.random import generator
from inkwash.run import load_run

pytest.importorskip("diffusers")


def test_what_is_saved_is_what_encodes(tmp_path):
    net = KLNetwork([1, 8, 8]).eval()
    assert sum(parameter.numel() for parameter in net.parameters()) == 165_583
    net.save(tmp_path / "ae")
    ae, x = KL(str(tmp_path / "ae"), [1, 8, 8], [2, 4, 4]), torch.rand(3, 1, 8, 8, generator=generator("x"))
    with torch.no_grad():
        mean, log_variance = net.moments(x)
        assert torch.equal(ae.moments_of(x), torch.cat([mean, log_variance], dim=1))
        assert torch.equal(ae.decode(ae.encode(x)), net(x, torch.zeros(3)))


def test_sizes_that_do_not_fit():
    with pytest.raises(UserError, match=r"data.shape=\[1, 9, 9\]: model.channels has 2 levels"):
        KLNetwork([1, 9, 9])
    with pytest.raises(UserError, match=r"model.groups=8 must divide all of model.channels, and does not divide 12"):
        KLNetwork([1, 8, 8], channels=[8, 12])


@pytest.mark.slow
def test_the_whole_way(fit_run, tmp_path):
    """Train an autoencoder, then a network on its latents, by few steps; reconstruct and draw."""
    ae, _, module = fit_run("ae", "experiment=autoencoder", "model.channels=[8,16]", "extractor=pyramid")
    assert sorted(file.name for file in (ae / "autoencoder").iterdir()) == [
        "config.json", "diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    with pytest.raises(UserError, match="this run is an autoencoder"):
        load_run(ae).sample(1)
    latents = ("autoencoder=kl", f"autoencoder.path={ae}", "extractor=pyramid")
    run, _, _ = fit_run("run", *latents)
    loaded = load_run(run)
    x = torch.rand(3, 1, 8, 8, generator=generator("x"))
    assert loaded.autoencoder is not None
    with torch.no_grad():
        theirs = module.ema_denoiser.net.reconstruct(x)
        assert torch.allclose(loaded.autoencoder.decode(loaded.autoencoder.encode(x)), theirs, atol=1e-5)
    assert loaded.sample(2).shape == (2, 1, 8, 8)
    assert "fd_pyramid_8_of_reconstructions" in (run / "metrics.csv").read_text().splitlines()[0]
