"""A run loaded from its directory."""

import pytest
import torch

from inkwash.autoencoders.base import Identity
from inkwash.config.instantiate import build
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.run import load_denoiser, load_run
from inkwash.runs.directory import RunDirectory
from inkwash.training.build import build_module
from support.autoencoders import blocks
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


def test_a_worse_network_draws_the_same_latents(tmp_path, compose_config):
    """guide=auto mixes two networks' estimates: of the same autoencoder, normalised alike."""
    autoencoder = "autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]%s}"
    ae, identity = blocks([1, 8, 8]), {"autoencoder": Identity([1, 8, 8]).fingerprint, "mean": [0.0], "dev": [1.0]}
    latents = {"autoencoder": ae.fingerprint, "mean": [1.0] * 4, "dev": [2.0] * 4}

    def write(name, extra="", of=autoencoder, **other):
        run = RunDirectory(tmp_path / name)
        module = build_module(compose_config("model.channels=8", *([of % extra] if of else [])))
        run.checkpoints.path.mkdir(parents=True)
        run.write_config(module.config)
        content = {"state_dict": module.state_dict(), "global_step": 1, "latents": {**latents, **other}}
        torch.save(content, run.checkpoints.last)
        return str(run)

    run = write("run")
    for same in (write("batches", ", batch_size: 3"), write("rounded", mean=[1.0001] * 4)):
        assert isinstance(load_denoiser(same, "last.ckpt", "ema", run), Denoiser)
    for name, other in {
        "deviation": write("deviation", ", std: 0.5"),
        "mean": write("mean", mean=[1.0, 1.0, 1.0, 2.0]),
        "scale": write("scale", dev=[1.0] * 4),
    }.items():
        with pytest.raises(UserError, match=f"run=.*{name} and run=.* draw latents of different autoencoders"):
            load_denoiser(other, "last.ckpt", "ema", run)
    weights = write("weights", autoencoder="f" * 32)
    with pytest.raises(UserError, match="draw latents of different autoencoders"):
        load_denoiser(run, "last.ckpt", "ema", weights)
    pixels, same = write("pixels", of=None), write("identity", of="autoencoder=none%s", **identity)
    assert isinstance(load_denoiser(pixels, "last.ckpt", "ema", same), Denoiser)
    assert isinstance(load_denoiser(same, "last.ckpt", "ema", pixels), Denoiser)
