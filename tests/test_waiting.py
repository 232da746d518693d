"""A step of training or of sampling reads nothing from the device: a read would wait for all that it has to do.

Here the device is one of tensors that raise when they are read (support/on_device.py); where there is a GPU, torch's
own debug mode watches.
"""

from types import SimpleNamespace

import pytest
import torch

from inkwash.config.instantiate import build
from inkwash.guidance import ClassifierFree
from inkwash.random import Draws, generator
from inkwash.samplers.base import ImageNoise, Sampler, Sampling
from inkwash.samplers.trajectory import Trajectory
from inkwash.training.build import build_module
from inkwash.training.callbacks.finite_loss import FiniteLoss
from inkwash.training.callbacks.loss_by_snr import LossByNoise
from inkwash.training.callbacks.training_log import TrainingLog
from support.on_device import OnDevice, WaitedError, on_device

SMALL = ("model.channels=8", "data.batch_size=4")
SHAPE = (1, 8, 8)
# Every sampler on the chain, and on a path of its own.
ON_PATHS = [
    *(("cosine", name) for name in ("ancestral", "ancestral_between", "ddim", "ddim_dynamic", "euler", "dpmpp_2m")),
    *(("cosine", name) for name in ("dpmpp_2m_sde", "dpmpp_3m", "unipc")),
    *(("edm", name) for name in ("heun", "heun sampler.S_churn=40", "dpmpp_3m", "unipc")),
    ("linear", "heun sampler.S_churn=40"),
    ("flow", "euler"),
]


@pytest.fixture
def watched(monkeypatch):
    """Let times and random numbers of this test be on the device."""
    expanded, draw = Sampling.expanded, Draws._draw
    monkeypatch.setattr(Sampling, "expanded", lambda self, t, host, n: expanded(self, on_device(t), host, n))
    monkeypatch.setattr(Draws, "_draw", lambda *args, **more: on_device(draw(*args, **more)))


def test_a_read_is_noticed(watched, compose_config):
    class Reader(Sampler):
        def step(self, x_t, t, s, run):
            return torch.zeros_like(x_t) if bool((s == 0).all()) else x_t

    denoiser = build_module(compose_config(*SMALL)).denoiser
    spacing = build(compose_config()["spacing"])
    with pytest.raises(WaitedError, match="__bool__ waits for the device"):
        Reader(spacing)(denoiser, ImageNoise(0, range(2), SHAPE))


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("schedule", "sampler", "guided"),
    [*((*pair, False) for pair in ON_PATHS), ("cosine", "dpmpp_2m", True), ("edm", "heun", True)],
)
def test_a_sampling_step_reads_nothing(watched, compose_config, schedule, sampler, guided):
    prediction = "edm" if schedule == "edm" else "v"
    spacing = "karras" if "heun" in sampler else "trailing"
    name, *more = sampler.split(" ")
    config = compose_config(
        *SMALL, f"schedule={schedule}", f"prediction={prediction}", f"sampler={name}", f"spacing={spacing}",
        "spacing.steps=6", *more,
    )  # fmt: skip
    denoiser = build_module(config).denoiser.eval()
    images = build(config["sampler"])(
        ClassifierFree(denoiser, 2.0) if guided else denoiser,
        ImageNoise(0, range(2), SHAPE), on_device(torch.tensor([3, 4])), watch=Trajectory(denoiser.schedule),
    )  # fmt: skip
    assert isinstance(images, OnDevice)


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    "overrides",
    [
        (), ("loss=hybrid", "model.learn_variance=true", "prediction=eps"), ("loss=vlb",), ("loss=huber",),
        ("times=uniform", "weighting=min_snr"), ("weighting=uncertainty",), ("model.num_classes=null",),
        ("schedule=edm", "prediction=edm", "times=log_normal", "weighting=edm"),
    ],
    ids=lambda overrides: ",".join(overrides) or "default",
)  # fmt: skip
def test_a_training_step_reads_nothing(watched, compose_config, overrides):
    """Loss, gradient, clipping, and what callbacks note of every step."""
    module = build_module(compose_config(*SMALL, *overrides))
    x_0 = on_device(torch.rand(4, *SHAPE) * 2 - 1)
    y = None if module.num_classes is None else on_device(torch.arange(4))
    terms = module.loss(module.denoiser, x_0, y, Draws([generator("test")]))
    assert isinstance(terms.loss, OnDevice)
    terms.loss.mean().backward()
    module.configure_gradient_clipping(SimpleNamespace(), 1.0)
    module.grad_norm = on_device(module.grad_norm.detach())
    trainer = SimpleNamespace(global_step=3, precision="32-true")
    outputs = {"losses": terms.loss.detach(), "t": on_device(terms.t), "raw": terms.raw.detach()}
    for callback in (FiniteLoss(10), LossByNoise(500), TrainingLog(50)):
        callback._scaled = False
        callback._timed = 0
        callback.observe(trainer, module, outputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("schedule", "sampler"), ON_PATHS)
def test_a_sampling_step_reads_nothing_from_a_gpu(compose_config, schedule, sampler):
    name, *more = sampler.split(" ")
    config = compose_config(
        *SMALL, f"schedule={schedule}", f"prediction={'edm' if schedule == 'edm' else 'v'}", f"sampler={name}",
        f"spacing={'karras' if 'heun' in sampler else 'trailing'}", "spacing.steps=6", *more,
    )  # fmt: skip
    module = build_module(config).cuda().eval()
    drawer, noise = build(config["sampler"]), ImageNoise(0, range(2), SHAPE, "cuda")
    steps = iter(range(9))

    def watch():  # from the end of the first step on: before it, schedule and times are copied
        if next(steps) == 0:
            torch.cuda.set_sync_debug_mode("error")

    constant = torch.randn(2, *SHAPE, device="cuda")
    try:
        drawer(module.denoiser, lambda: constant, torch.tensor([3, 4]).cuda(), watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert noise().shape == constant.shape
