"""inkwash.fit: a few lines, the same training."""

import numpy as np
import pytest
import torch

import inkwash
from inkwash.errors import UserError
from inkwash.losses.distances import L2
from inkwash.losses.vlb import HybridLoss
from inkwash.process.spacing import Trailing
from inkwash.process.times import Stratified
from inkwash.process.variances import LearnedRange
from inkwash.process.weightings import Uniform
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.ddim import DDIM
from inkwash.training.build import build_denoiser
from support.runs import composed
from support.training import NO_METRIC, weights


def unet(num_classes=None, channels=8):
    torch.manual_seed(0)
    return inkwash.UNet((1, 8, 8), channels, [1, 2], 1, [], num_classes=num_classes)


@pytest.fixture
def images():
    return torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_run_comes_out(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    run = inkwash.fit(unet(), images, steps=6, batch_size=8, log_every_n_steps=2, accelerator="cpu")
    assert isinstance(run, inkwash.Run)
    assert run.sample(3).shape == (3, 1, 8, 8)
    assert [row["step"] for row in run.metrics] == [2, 4, 6]
    assert run.plot().axes
    assert "without a directory, step 6" in repr(run)
    assert "6/6 steps" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_it_is_the_training_of_the_command(fit_run):
    """The same weights, bit for bit, as `inkwash train` of the same images, network, rate and seed."""
    settings = (
        "trainer.max_steps=5",
        "optimizer=adamw",
        "optimizer.lr=0.001",
        "learning_rate.warmup_steps=0",
        "trainer.threads=1",
    )
    settings += ("times=stratified", "trainer.memory_format=contiguous", "seed=3", "~callbacks.samples", NO_METRIC)
    _, trainer, module = fit_run("run", *settings)
    split = trainer.datamodule.train
    config = composed("model.channels=8", "seed=3")
    net = build_denoiser(config).net
    run = inkwash.fit(net, split.images, split.labels, steps=5, batch_size=16, lr=0.001, seed=3, accelerator="cpu")
    assert torch.equal(weights(run.denoiser.net), weights(module.ema_denoiser.net))


@pytest.mark.slow
def test_it_learns_and_guides(images):
    """Two classes, black and white: after a hundred steps the labels decide."""
    labels = torch.arange(40) % 2
    pixels = torch.where(labels.view(-1, 1, 1, 1) == 1, 1.0, -1.0).expand(-1, 1, 8, 8) * 0.9
    run = inkwash.fit(
        unet(2),
        pixels.numpy(),
        labels.numpy(),
        steps=120,
        batch_size=20,
        lr=5e-3,
        sampler=DDIM(Trailing(10)),
        accelerator="cpu",
    )
    means = run.sample(labels=[0, 1, 0, 1], guidance=1.5).float().mean(dim=(1, 2, 3))
    assert means[0] < 60 < 190 < means[1]
    assert means[2] < 60 < 190 < means[3]


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (torch.zeros(4, 16, 16, 3), r"images: their shape \[4, 16, 16, 3\] has the channels last: pass images.permute"),
        (torch.zeros(4, 8, 8), r"images: their shape \[4, 8, 8\] must be \[N, C, H, W\]"),
        (torch.rand(4, 1, 8, 8), r"images: floats must lie in \[-1, 1\], .*: pass 2 \* images - 1"),
        (torch.rand(4, 1, 8, 8) * 255, r"images: floats must lie in \[-1, 1\], .*: pass them as uint8"),
        (np.zeros((4, 1, 8, 8), dtype=np.int64), r"images: their type torch.int64 must be uint8"),
    ],
)
def test_images_of_another_form(pixels, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        inkwash.fit(unet(), pixels, steps=1)


def test_labels_that_do_not_fit(images):
    with pytest.raises(UserError, match="^labels: the network has num_classes=2: pass labels"):
        inkwash.fit(unet(2), images, steps=1)
    with pytest.raises(UserError, match="^labels: the network has num_classes=None: pass no labels"):
        inkwash.fit(unet(), images, torch.zeros(40), steps=1)
    with pytest.raises(UserError, match=r"^labels: their shape \[3\] must be \[40\]"):
        inkwash.fit(unet(2), images, [0, 1, 0], steps=1)
    with pytest.raises(UserError, match="data.num_classes=2, but the train labels go up to 7"):
        inkwash.fit(unet(2), images, torch.full((40,), 7), steps=1)


@pytest.mark.parametrize("loss", [HybridLoss(L2(), Uniform(), Stratified()), None])
def test_a_variance_is_learned_by_a_loss_that_does(images, loss):
    learning = inkwash.UNet((1, 8, 8), 8, [1], 1, [], learn_variance=loss is not None)
    run = inkwash.fit(
        learning, images, steps=2, batch_size=16, loss=loss, sampler=Ancestral(Trailing(2), LearnedRange())
    )
    if loss is None:
        with pytest.raises(UserError, match=r"learned variance needs a network that learns it"):
            run.sample(2)
    else:
        assert run.sample(2).shape == (2, 1, 8, 8)
    other = inkwash.UNet((1, 8, 8), 8, [1], 1, [], learn_variance=loss is None)
    with pytest.raises(UserError, match="return half the channels" if loss is None else "return twice the channels"):
        inkwash.fit(other, images, steps=2, batch_size=16, loss=loss)


def test_a_network_is_looked_at_before_it_trains():
    class Mine(torch.nn.Module):
        def forward(self, x, t):
            return x

    with pytest.raises(UserError, match=r"^Mine: forward\(x, t\) cannot be called as forward\(x, time, y\)"):
        inkwash.fit(Mine(), torch.zeros(8, 1, 8, 8, dtype=torch.uint8), steps=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": "cosine"}, r"^schedule='cosine' must be a Schedule, BetaSchedule\(cosine\(1000\)\) for example"),
        ({"sampler": "ddim"}, r"^sampler='ddim' must be a Sampler, DDIM\(Trailing\(50\)\) for example"),
        ({"labels": ["a", "b"] * 4}, r"^labels: they must be numbers 0, 1, ..., one for each image"),
    ],
)
def test_names_in_the_place_of_objects(given, message):
    net = inkwash.UNet((1, 8, 8), 8, [1], 1, [], num_classes=2 if "labels" in given else None)
    with pytest.raises(UserError, match=message):
        inkwash.fit(net, torch.zeros(8, 1, 8, 8, dtype=torch.uint8), steps=1, **given)


def test_a_number_in_the_place_of_a_spacing():
    with pytest.raises(UserError, match=r"^spacing=5 must be a spacing of times: inkwash.Trailing\(5\), for example"):
        inkwash.DDIM(5)


def test_a_name_of_other_letters():
    with pytest.raises(AttributeError, match=r"did you mean UNet\?"):
        _ = inkwash.Unet
