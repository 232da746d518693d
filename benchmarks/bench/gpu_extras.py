"""On one device beside training: Lightning's loop, batches from memory, sampling, the statistics of an evaluation."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from bench import gpu_steps
from bench.rounds import Spread
from bench.rows import Row, missing


@dataclass(frozen=True)
class Extra:
    """A measurement beside those of a training step: its rows, and how they are filled."""

    name: str
    empty: Callable[[], list[Row]]
    fill: Callable[[Any, list[Row]], None]

    def measure(self, session: Any) -> list[Row]:
        """Return its rows; one that cannot be measured says why."""
        rows, precision = self.empty(), torch.get_float32_matmul_precision()
        try:
            self.fill(session, rows)
        except Exception as error:  # what is missing on a machine is no reason to lose the rest
            for row in rows:
                row.note = row.note if row.value else f"{type(error).__name__}: {str(error)[:150]}"
        finally:
            torch.set_float32_matmul_precision(precision)  # a Trainer allows TF32, also to those that come after it
        return rows

    def __str__(self) -> str:
        return self.name


def _sampling_rows() -> list[Row]:
    case = "35.7M, 256 images, DDIM, bf16"
    rows = [Row("sampling", case, side, unit="ms a step", note="not measured") for side in ("Inkwash", "diffusers")]
    rows[1].at_least(2)
    return rows


def _sampling(session: Any, rows: list[Row]) -> None:
    from bench.gpu import in_turns

    steps, batch = (2, 2) if session.tiny else (20, 256)
    draws = {"Inkwash": _ours(session, steps, batch)}
    if not missing("diffusers"):
        draws["diffusers"] = _theirs(session, steps, batch)
    timed = {}
    for side, draw in draws.items():
        gpu_steps.timed(draw, session.device, 1)
        timed[side] = (draw, gpu_steps.timed(draw, session.device, 1))
    times = in_turns(session, timed)
    for row in rows:
        row.note = missing(row.side)
        if seconds := times.get(row.side):
            row.value = Spread.of([1000 * s / steps for s in seconds])
            row.ratio = Spread.of([b / a for a, b in zip(times["Inkwash"], seconds, strict=True)])
    rows[1].at_least(2)


def _ours(session: Any, steps: int, batch: int) -> Callable[[], Any]:
    from bench.sampling_loops import our_sampler
    from inkwash.samplers.generate import generate

    denoiser = gpu_steps.our_denoiser(session.model, session.device).eval().requires_grad_(False)
    sampler, shape = our_sampler("ddim", steps), tuple(session.model["shape"])

    def draw() -> None:
        with gpu_steps.autocast(session.device, True):
            list(generate(denoiser, sampler, shape, range(batch), batch_size=batch, device=session.device))

    return draw


def _theirs(session: Any, steps: int, batch: int) -> Callable[[], Any]:
    from diffusers import DDIMPipeline, DDIMScheduler

    net = gpu_steps.diffusers_net(session.model, session.device).eval()
    pipeline = DDIMPipeline(net, DDIMScheduler(timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> None:
        with gpu_steps.autocast(session.device, True):
            pipeline(batch_size=batch, num_inference_steps=steps, output_type="np")

    return draw


def _product_rows() -> list[Row]:
    row = Row("product", "Lightning's loop over a bare one, batch 256", "Inkwash", unit="% more", note="not measured")
    return [row.wanted("at most 3%", None)]


def _product(session: Any, rows: list[Row]) -> None:
    """Take the steps of DiffusionModule in Lightning's Trainer, without callbacks but one that looks at the clock."""
    size, steps = (4, 10) if session.tiny else (256, 60)
    bare = gpu_steps.ours(session.model, size, session.device)
    gpu_steps.timed(bare, session.device, 3)
    first = gpu_steps.timed(bare, session.device, steps // 2)
    seconds = _lightning(session, size, steps)
    again = gpu_steps.timed(bare, session.device, steps // 2)
    more = 100 * (seconds / ((first + again) / 2) - 1)
    rows[0].value, rows[0].note = Spread.of([more]), f"{1000 * seconds:.3g} ms a step, images in memory"
    rows[0].wanted("at most 3%", more <= 3)


def _lightning(session: Any, size: int, steps: int) -> float:
    """Return the seconds of a step, without the first ten."""
    import lightning as L

    from inkwash.training.ema import ConstantDecay
    from inkwash.training.module import DiffusionModule
    from inkwash.training.trainer import build_trainer

    marks = {}

    class Clock(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step in (first, steps - 1):
                gpu_steps.synchronize(session.device)
                marks[trainer.global_step] = time.perf_counter()

    first = min(10, steps // 2)
    denoiser = gpu_steps.our_denoiser(session.model, session.device)
    adam = partial(torch.optim.Adam, lr=2e-4, fused=True)
    module = DiffusionModule(denoiser, gpu_steps.our_loss(), adam, lambda _: 1.0, ConstantDecay(0.9999))
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            steps, "gpu" if session.device.type == "cuda" else "cpu", 1, precision="bf16-mixed", callbacks=[Clock()],
            logger=False, default_root_dir=folder, threads=torch.get_num_threads(),
        )  # fmt: skip
        trainer.fit(module, datamodule=_data(session, size))
    return (marks[steps - 1] - marks[first]) / (steps - 1 - first)


def _data(session: Any, size: int) -> Any:
    from inkwash.data.images import Images
    from inkwash.data.module import ImageDataModule

    shape = session.model["shape"]
    pixels = torch.randint(0, 256, (256 if session.tiny else 50_000, *shape), dtype=torch.uint8)
    split = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64), fingerprint="noise")
    source: Any = SimpleNamespace(load=lambda *_: split)
    return ImageDataModule(source, shape, None, size, flip=True)


def _data_rows() -> list[Row]:
    row = Row("data", "batches of 256 from 50,000 images, to the device", "Inkwash", unit="% of a step")
    row.note = "not measured"
    return [row.wanted("under 1%", None)]


def _batches(session: Any, rows: list[Row]) -> None:
    size, count = (4, 3) if session.tiny else (256, 50)
    data: Any = _data(session, size)
    data.trainer = SimpleNamespace(
        world_size=1, global_rank=0, global_step=0, accumulate_grad_batches=1, overfit_batches=0, num_nodes=1,
        strategy=SimpleNamespace(root_device=session.device),
    )  # fmt: skip
    batches = iter(data.train_dataloader())

    def read() -> None:
        images, labels = next(batches)
        data.on_after_batch_transfer((images.to(session.device, non_blocking=True), labels), 0)

    gpu_steps.timed(read, session.device, 3)
    seconds = gpu_steps.timed(read, session.device, count)
    step = gpu_steps.ours(session.model, size, session.device)
    gpu_steps.timed(step, session.device, 3)
    share = 100 * seconds / gpu_steps.timed(step, session.device, 5)
    rows[0].value, rows[0].note = Spread.of([share]), f"{1000 * seconds:.3g} ms a batch, one after the other"
    rows[0].wanted("under 1%", share < 1)


def _evaluation_rows() -> list[Row]:
    row = Row("evaluation", "statistics of 10,000 images, pyramid features, FID and KID", "Inkwash")
    row.unit, row.note = "% of drawing", "not measured"
    return [row.wanted("under 5%", None)]


def _evaluation(session: Any, rows: list[Row]) -> None:
    from inkwash.data.images import Images
    from inkwash.metrics.extractors.pyramid import PyramidFeatures
    from inkwash.metrics.frechet import FrechetDistance
    from inkwash.metrics.kernel import KernelDistance
    from inkwash.metrics.suite import Suite

    n, steps, drawn = (128, 2, 2) if session.tiny else (10_000, 50, 256)
    shape = session.model["shape"]
    pixels = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    split = Images(pixels, torch.zeros(n, dtype=torch.int64), fingerprint="noise")
    draw = _ours(session, steps, drawn)
    gpu_steps.timed(draw, session.device, 1)
    drawing = gpu_steps.timed(draw, session.device, 1) * n / drawn
    with tempfile.TemporaryDirectory() as cache:
        suite = Suite(PyramidFeatures(), [FrechetDistance(), KernelDistance()], n)
        suite.prepare(split, split, cache, classes=False, device=session.device)

        def statistics() -> None:
            suite.reset()
            for first in range(0, n, 250):
                suite.update(range(first, min(n, first + 250)), pixels[first : first + 250])
            suite.compute()

        seconds = gpu_steps.timed(statistics, session.device, 1)
    share = 100 * seconds / drawing
    rows[0].value, rows[0].note = Spread.of([share]), f"{seconds:.3g} s beside {drawing:.3g} s in {steps} steps"
    rows[0].wanted("under 5%", share < 5)


EXTRAS = [
    Extra("sampling", _sampling_rows, _sampling),
    Extra("product", _product_rows, _product),
    Extra("data", _data_rows, _batches),
    Extra("evaluation", _evaluation_rows, _evaluation),
]
__all__ = ["EXTRAS", "Extra"]
