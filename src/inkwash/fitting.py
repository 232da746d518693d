"""Train a network on a tensor of images in a few lines, without a configuration: the public `fit`.

It is the training of `inkwash train`, its LightningModule, its Trainer and its data module, without what belongs to a
run directory: no files, checkpoints, grids or metrics.
"""

import functools
import warnings
from typing import Any

import lightning as L
import torch
from torch import Tensor

from inkwash.data.images import Images
from inkwash.data.module import ImageDataModule
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.images import to_uint8
from inkwash.losses.base import Loss
from inkwash.losses.distances import L2
from inkwash.losses.simple import DiffusionLoss
from inkwash.nets.network import Network
from inkwash.process.betas import cosine
from inkwash.process.predictions import Prediction, V
from inkwash.process.schedules import BetaSchedule, Schedule
from inkwash.process.spacing import Trailing
from inkwash.process.times import Stratified
from inkwash.process.weightings import Uniform
from inkwash.samplers.base import Sampler
from inkwash.samplers.ddim import DDIM
from inkwash.trained_run import Run
from inkwash.training.callbacks.finite_loss import FiniteLoss
from inkwash.training.callbacks.progress import Progress
from inkwash.training.callbacks.training_log import TrainingLog
from inkwash.training.ema import PowerDecay
from inkwash.training.learning_rate import WarmupCosine
from inkwash.training.log_setup import quieten
from inkwash.training.module import DiffusionModule
from inkwash.training.network_check import check_network
from inkwash.training.trainer import build_trainer

WARMUP = 0.05  # fraction of the steps
SAMPLING_STEPS = 50
LABEL_DROPOUT = 0.1


def fit(
    net: Network,
    images: Any,
    labels: Any = None,
    steps: int = 1000,
    batch_size: int = 128,
    lr: float = 1e-3,
    schedule: Schedule | None = None,
    prediction: Prediction | None = None,
    loss: Loss | None = None,
    sampler: Sampler | None = None,
    flip: bool = False,
    seed: int = 0,
    accelerator: str = "auto",
    log_every_n_steps: int = 50,
) -> Run:
    """Train a network on images and return a `Run` that draws with the average of its weights.

    >>> net = inkwash.UNet((1, 8, 8), channels=8, channel_mult=[1, 2], num_res_blocks=1, attention_resolutions=[])
    >>> run = inkwash.fit(net, torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8), steps=20)
    >>> images = run.sample(4)

    AdamW, a linear warm-up and half a cosine; gradients of norm 1 at most; the decay of the average is that of
    `conf/ema/power.yaml`. The network is trained in place.

    Args:
        images: (N, C, H, W), uint8 or floats in [-1, 1], a tensor or an array.
        labels: (N,), classes 0, 1, ... of a network with classes; None without.
        steps: optimizer steps.
        batch_size: images of a step.
        lr: the highest learning rate.
        schedule: None for DDPM's chain with cosine betas, 1000 steps.
        prediction: None for v.
        loss: None for the simple loss, with labels left out for a tenth of the images, so that it can be guided.
        sampler: of the `Run`; None for DDIM with 50 steps.
        flip: train on the mirror images, too.
        seed: of the order, the times and the noise.
        accelerator: auto, cpu or gpu.
        log_every_n_steps: steps between two of the `Run`'s `metrics`.

    Raises:
        UserError: images and labels are not of this form, or do not fit the network.
    """
    _check_kinds(
        schedule=(schedule, Schedule),
        prediction=(prediction, Prediction),
        loss=(loss, Loss),
        sampler=(sampler, Sampler),
    )
    pixels, classes = as_images(images), getattr(net, "num_classes", None)
    if (labels is None) != (classes is None):
        lacking = "labels, or a network without" if labels is None else "no labels, or a network with classes"
        raise UserError(f"labels: the network has num_classes={classes}: pass {lacking}")
    y = torch.full((len(pixels),), -1) if labels is None else as_labels(labels)
    if y.shape != pixels.shape[:1]:
        raise UserError(f"labels: their shape {list(y.shape)} must be [{len(pixels)}], one for each image")
    shape = tuple(pixels.shape[1:])
    data = ImageDataModule(InMemory(pixels, y), shape, classes, batch_size, flip=flip, seed=seed)
    loss = loss or DiffusionLoss(L2(), Uniform(), Stratified(), LABEL_DROPOUT)
    denoiser = Denoiser(net, schedule or BetaSchedule(cosine(1000)), prediction or V())
    loss.check(denoiser, loss.learns_variance)  # whether the network does, its output shows: check_network
    module = DiffusionModule(
        denoiser,
        loss=loss,
        optimizer=functools.partial(torch.optim.AdamW, lr=lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        learning_rate=WarmupCosine(steps, round(WARMUP * steps)),
        decay=PowerDecay(),
        seed=seed,
    )
    log = TrainingLog(log_every_n_steps)
    history = History(log)
    check_network(module, shape, classes, type(net).__name__)
    with warnings.catch_warnings():
        quieten()
        trainer = build_trainer(
            steps, accelerator, 1, threads=torch.get_num_threads(), precision="32-true",
            callbacks=[log, history, Progress(), FiniteLoss()], logger=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
    config = {
        "data": {"shape": list(shape), "num_classes": classes, "batch_size": batch_size},
        "model": {"num_classes": classes, "learn_variance": loss.learns_variance},
        "loss": {"label_dropout": loss.label_dropout},
        "trainer": {"precision": "32-true", "memory_format": "contiguous", "threads": None},
        "callbacks": {},
        "seed": seed,
    }
    average = module.ema_denoiser.eval().requires_grad_(False)
    run = Run(config, average, steps, data.train.fingerprint, batch_size, rows=history.rows)
    run.sampler = sampler or DDIM(Trailing(SAMPLING_STEPS))
    return run


def as_images(images: Any) -> Tensor:
    """Return images as uint8 (N, C, H, W). Raises UserError for what is neither uint8 nor in [-1, 1]."""
    pixels = torch.as_tensor(images)
    if pixels.ndim != 4 or not len(pixels):
        raise UserError(f"images: their shape {list(pixels.shape)} must be [N, C, H, W]; images[:, None] of grey ones")
    if pixels.shape[1] > 4 >= pixels.shape[3]:
        raise UserError(
            f"images: their shape {list(pixels.shape)} has the channels last: pass images.permute(0, 3, 1, 2), or "
            "images.transpose(0, 3, 1, 2) of an array"
        )
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise UserError(f"images: their type {pixels.dtype} must be uint8, or floats in [-1, 1]")
    low, high = float(pixels.min()), float(pixels.max())
    if not (-1 <= low < 0 and high <= 1):
        advice = "pass 2 * images - 1" if low >= 0 and high <= 1 else "pass them as uint8, or scaled"
        raise UserError(f"images: floats must lie in [-1, 1], and these lie in [{low:.3g}, {high:.3g}]: {advice}")
    return to_uint8(pixels)


def as_labels(labels: Any) -> Tensor:
    """Return labels as int64 (N,). Raises UserError for what are no numbers."""
    try:
        return torch.as_tensor(labels).long()
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            "labels: they must be numbers 0, 1, ..., one for each image: pass [names.index(label) for label in "
            "labels], where names = sorted(set(labels))"
        ) from None


def _check_kinds(**given: tuple[Any, type]) -> None:
    """Raise UserError for an argument that is of another class than it must be, a name for example."""
    examples = {"schedule": "BetaSchedule(cosine(1000))", "prediction": "V()", "sampler": "DDIM(Trailing(50))"}
    for key, (value, kind) in given.items():
        if value is not None and not isinstance(value, kind):
            example = f", {examples[key]} for example" if key in examples else ""
            raise UserError(f"{key}={value!r} must be a {kind.__name__}{example}")


class InMemory:
    """Source of the images of a tensor; none are held out."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Images:
        count = len(self.images) if split == "train" else 0
        return Images(self.images[:count], self.labels[:count])


class History(L.Callback):
    """Keeps what another callback has logged, a row for each of its steps."""

    def __init__(self, source: TrainingLog):
        self.source = source
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.source.ran_at(trainer.global_step) and not (self.rows and self.rows[-1]["step"] == trainer.global_step):
            self.rows.append({"step": trainer.global_step, **pl_module.latest})
