"""A step of training or of sampling reads nothing from the device: a read would wait for all that it has to do.

Here the device is one of tensors that raise when they are read (support/on_device.py); where there is a GPU, torch's
own debug mode watches.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.editing.perform import InParts
from inkwash.guidance import AdaptiveProjected, AutoGuidance, ClassifierFree
from inkwash.random import Draws, generator
from inkwash.samplers.base import ImageNoise, Sampler, Sampling
from inkwash.samplers.trajectory import Trajectory
from inkwash.training.build import build_module
from inkwash.training.callbacks.finite_loss import FiniteLoss
from inkwash.training.callbacks.loss_by_snr import LossByNoise
from inkwash.training.callbacks.training_log import TrainingLog
from support.networks import EDM2, SONG
from support.on_device import OnDevice, WaitedError, copies, on_device

SMALL = ("model.channels=8", "data.batch_size=4")
SHAPE = (1, 8, 8)
LEARNED = "ancestral sampler.variance._target_=inkwash.process.variances.LearnedRange"


def names(group):
    return sorted(path.stem for path in (Path(config_dir()) / group).glob("*.yaml"))


# Every sampler on the chain, and on a path of its own.
ON_PATHS = [
    *(("cosine", name) for name in names("sampler") if name != "heun"),
    *(("edm", name) for name in ("heun", "heun sampler.S_churn=40", "dpmpp_3m", "unipc")),
    ("linear", "heun sampler.S_churn=40"), ("cosine", "ddim sampler.eta=0.5"), ("cosine", LEARNED), ("flow", "euler"),
]  # fmt: skip
GUIDES = {
    "cfg": lambda good: ClassifierFree(good, 2.0),
    "cfg, rescaled": lambda good: ClassifierFree(good, 2.0, rescale=0.7),
    "cfg, interval": lambda good: ClassifierFree(good, 2.0, [0.3, 5.0]),
    "cfg, interval, parts": lambda good: InParts(ClassifierFree(good, 2.0, [0.3, 5.0]), 1),
    "apg": lambda good: AdaptiveProjected(good, 2.0, [0.3, 5.0], norm=1.0),
    "auto": lambda good: AutoGuidance(good, 2.0, good, [0.3, 5.0]),
}


@pytest.fixture
def watched(monkeypatch):
    """Let times and random numbers of this test be on the device."""
    expanded, draw = Sampling.expanded, Draws._draw
    as_of_device = lambda self, t, host, n: expanded(self, on_device(t), host, n)  # noqa: E731
    monkeypatch.setattr(Sampling, "expanded", as_of_device)
    monkeypatch.setattr(Draws, "_draw", lambda *args, **more: on_device(draw(*args, **more)))
    monkeypatch.setattr(torch, "tensor", copies(torch.tensor))
    monkeypatch.setattr(torch, "as_tensor", copies(torch.as_tensor))


def test_a_read_is_noticed(watched, compose_config):
    class Reader(Sampler):
        def step(self, x_t, t, s, run):
            return torch.zeros_like(x_t) if bool((s == 0).all()) else x_t

    denoiser = build_module(compose_config(*SMALL)).denoiser
    spacing = build(compose_config()["spacing"])
    with pytest.raises(WaitedError, match="__bool__ waits for the device"):
        Reader(spacing)(denoiser, ImageNoise(0, range(2), SHAPE))


@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x[x > 0], lambda x: torch.where(x > 0), lambda x: torch.linalg.solve(x, x),
        lambda x: torch.tensor(1.0, device=x.device), lambda x: x.to("cpu"),
    ],
)  # fmt: skip
def test_reads_in_disguise_are_noticed(watched, reads):
    with pytest.raises(WaitedError):
        reads(on_device(torch.eye(2)))


def sampling(compose_config, schedule, sampler):
    """Return a module on a path, in evaluation mode, and a sampler."""
    name, *more = sampler.split(" ")
    if sampler == LEARNED:
        more += ["model.learn_variance=true", "loss=hybrid"]
    config = compose_config(
        *SMALL, f"schedule={schedule}", f"prediction={'edm' if schedule == 'edm' else 'v'}", f"sampler={name}",
        f"spacing={'karras' if 'heun' in sampler else 'trailing'}", "spacing.steps=6", *more,
    )  # fmt: skip
    return build_module(config).eval(), build(config["sampler"])


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("schedule", "sampler", "guide"),
    [
        *((*pair, None) for pair in ON_PATHS),
        *(("cosine", "dpmpp_2m", guide) for guide in GUIDES),
        *(("edm", "heun sampler.S_churn=40", guide) for guide in GUIDES),
    ],
)
def test_a_sampling_step_reads_nothing(watched, compose_config, schedule, sampler, guide):
    module, drawer = sampling(compose_config, schedule, sampler)
    denoiser = module.denoiser
    images = drawer(
        denoiser if guide is None else GUIDES[guide](denoiser),
        ImageNoise(0, range(2), SHAPE), on_device(torch.tensor([3, 4])), watch=Trajectory(denoiser.schedule),
    )  # fmt: skip
    assert isinstance(images, OnDevice)


def test_every_guide_has_a_test():
    assert {name.partition(",")[0] for name in GUIDES} == {*names("guide")}


EDM = ("schedule=edm", "prediction=edm")
FLOW = ("schedule=flow", "prediction=flow", "model=dit_digits", "model.width=16", "model.num_heads=2")
# What the value of a group wants beside it.
BESIDE = {
    "loss": {
        "autoencoder": None,  # of another network
        "hybrid": ("model.learn_variance=true", "prediction=eps"),
        "consistency": EDM, "meanflow": (*FLOW, "model.two_times=true", "model.time_scale=0.001", "times=uniform"),
        "shortcut": (*FLOW, "model.two_times=true"),
    },
    "times": {"log_normal": EDM, "logit_normal": FLOW, "logit_normal_shifted": FLOW},
    "weighting": {"edm": EDM},
    "schedule": {"edm": ("prediction=edm",)},
    "prediction": {"edm": ("schedule=edm",), "eps": ("schedule=linear",), "mu": ("schedule=linear", "weighting=vlb")},
}  # fmt: skip
TRAININGS = [
    (f"{group}={name}", *more)
    for group, beside in BESIDE.items()
    for name in names(group)
    if (more := beside.get(name, ())) is not None
]
MORE = [
    ("model.num_classes=null",),
    SONG,
    (*EDM2, "model.head_dim=4"),
    ("loss=vlb", "model.learn_variance=true", "loss.variance._target_=inkwash.process.variances.LearnedRange"),
    ("loss=meanflow", *BESIDE["loss"]["meanflow"], "loss.guidance=2", "loss.mix=0.5", "loss.power=1"),
]


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("overrides", [*TRAININGS, *MORE], ids=",".join)
def test_a_training_step_reads_nothing(watched, compose_config, overrides):
    """Loss, gradient, clipping, learned times, and what callbacks note of every step."""
    *_, batch = SMALL
    other = any(word.startswith("model=") for word in overrides)
    module = build_module(compose_config(*([batch] if other else SMALL), *overrides))
    x_0 = on_device(torch.rand(4, *SHAPE) * 2 - 1)
    y = None if module.num_classes is None else on_device(torch.arange(4))
    for name, buffer in module.loss.named_buffers():
        parent, _, leaf = name.rpartition(".")
        module.loss.get_submodule(parent)._buffers[leaf] = on_device(buffer)
    draws = Draws([generator("test")])
    x_0, told = (x_0, None) if module.augment is None else module.augment(x_0, draws)
    terms = module.loss(module.denoiser, x_0, y, draws, told)
    assert isinstance(terms.loss, OnDevice)
    terms.loss.mean().backward()
    module.configure_gradient_clipping(SimpleNamespace(), 1.0)
    module.grad_norm = on_device(module.grad_norm.detach())
    trainer = SimpleNamespace(global_step=3, precision="32-true", world_size=1)
    module._trainer = trainer
    module._times_and_losses.append((on_device(terms.t), terms.raw))
    if module.loss.times.learns:
        module._learn_times()
    outputs = {"losses": terms.loss.detach(), "t": on_device(terms.t), "raw": terms.raw.detach()}
    for callback in (FiniteLoss(10), LossByNoise(500), TrainingLog(50)):
        callback._scaled = False
        callback._timed = 0
        callback.observe(trainer, module, outputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("schedule", "sampler"), ON_PATHS)
def test_a_sampling_step_reads_nothing_from_a_gpu(compose_config, schedule, sampler):
    module, drawer = sampling(compose_config, schedule, sampler)
    module, noise = module.cuda(), ImageNoise(0, range(2), SHAPE, "cuda")
    steps = iter(range(9))

    def watch():  # from the end of the first step on: before it, schedule and times are copied
        if next(steps) == 0:
            torch.cuda.set_sync_debug_mode("error")

    try:
        drawer(module.denoiser, noise, torch.tensor([3, 4]).cuda(), watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
