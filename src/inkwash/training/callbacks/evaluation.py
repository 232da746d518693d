"""Measure metrics during training: one pass of generated images, a part of them on each rank, for all metrics."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from inkwash.autoencoders.refusals import sees_pixels
from inkwash.errors import UserError
from inkwash.metrics.base import Measure
from inkwash.metrics.extractors.auto import AutoFeatures
from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.ranks import largest
from inkwash.metrics.record import frechet_name
from inkwash.metrics.reference import frechet_floor
from inkwash.metrics.suite import Suite
from inkwash.runs.best import FLOOR
from inkwash.samplers.base import Sampler
from inkwash.samplers.generate import LABEL_CHOICES, labels_to_measure
from inkwash.training.callbacks.generation import (
    autoencoder_of,
    check_sampler,
    generate_local,
    of_reconstructions,
    scale_for,
)
from inkwash.training.callbacks.periodic import Periodic, log_metrics, run_directory, showing
from inkwash.training.callbacks.stop_on_signal import interruptible
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)

MIN_IMAGES = 2


class Evaluation(Periodic):
    """Compares num_images generated images of the averaged weights with real ones.

    Each value goes to the loggers and, with its whole protocol, to metrics.jsonl. Nothing is drawn from the training's
    random streams.

    Args:
        every_n_steps: the cadence.
        num_images: number of generated images; part of every metric's name.
        sampler, guidance, seed: how they are generated.
        extractor: the feature extractor.
        metrics: the metrics by name; best checkpoint and sweeps use the first one by default.
        cache_dir: folder of cached features and moments of the real images.
        weights: the weights to measure, one pass of images for each: ema, raw or further averages. A metric of any but
            the first has their name at its end, fd_classifier_1350_raw.
        reference: the split to compare with, heldout or train.
        reference_file: an .npz file with mu and sigma to compare with instead.
        batch_size: images generated at a time; None for what a micro-batch of the training allows.
        labels: of the generated images: `reference` for the proportions of the split they are compared with, exactly;
            `balanced` for equally many of each class.
    """

    activity = "measuring"

    def __init__(
        self,
        every_n_steps: int | None,
        num_images: int,
        sampler: Sampler,
        extractor: FeatureExtractor,
        metrics: dict[str, Measure],
        cache_dir: str,
        guidance: float = 1.0,
        seed: int = 0,
        weights: Sequence[str] = ("ema",),
        reference: str = "heldout",
        reference_file: str | None = None,
        batch_size: int | None = None,
        labels: str = "reference",
    ):
        super().__init__(every_n_steps)
        if batch_size is not None and batch_size < 1:
            raise UserError(f"callbacks.evaluation.batch_size={batch_size} must be at least 1")
        if num_images < MIN_IMAGES:
            raise UserError(f"callbacks.evaluation.num_images={num_images} must be at least {MIN_IMAGES}")
        if labels not in LABEL_CHOICES:
            raise UserError(f"callbacks.evaluation.labels={labels} must be {' or '.join(LABEL_CHOICES)}")
        if not metrics:
            raise UserError(
                "metrics=[] measures nothing: list some, or leave the evaluation out with ~callbacks.evaluation"
            )
        self.num_images, self.sampler, self.cache_dir = num_images, sampler, cache_dir
        if not weights:
            raise UserError("callbacks.evaluation.weights=[] measures nothing: list ema, raw or further averages")
        self.guidance, self.seed, self.batch_size, self.weights = guidance, seed, batch_size, list(weights)
        self.reference, self.reference_file, self.labels = reference, reference_file, labels
        self.suite = Suite(extractor, list(metrics.values()), num_images)
        self.loaded = False  # the suite, which waits for the first step if its extractor has to be trained
        self.context: dict[str, float] = {}  # the values to compare with
        self.context_due = False  # they are logged after the first step

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Check sampler and weights, load extractor and reference, before a failure costs anything.

        An extractor that has to be trained waits until the first step of this process is done: so one sees sooner
        whether the rest of the run is right.
        """
        check_sampler(self.sampler, pl_module)
        scale_for(pl_module, self.guidance)
        for name in self.weights:
            pl_module.weights_of(name)
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        eyes = self.suite.extractor
        if isinstance(eyes, AutoFeatures) and eyes.first is None:  # a run that goes on is measured as before
            eyes.first = run_directory(trainer).extractor_name
        self.suite.choose(
            data.train, data.heldout, self.cache_dir, self.reference, self.reference_file,
            labelled=pl_module.num_classes is not None, flip=data.flip, classes=data.num_classes is not None,
            node="callbacks.evaluation",
        )  # fmt: skip
        self.drawn = labels_to_measure(
            self.labels,
            self.real(trainer).labels,
            self.num_images,
            pl_module.num_classes,
            "callbacks.evaluation.labels",
        )
        # All ranks wait if one has to: each may see another folder of cached files. A limit of time is the training's.
        callbacks: Any = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        limited = any(isinstance(callback, Timer) for callback in callbacks)
        if limited or not largest(self.suite.loads_slowly):
            self._load(trainer, pl_module)
        directions = self.suite.directions.items()
        pl_module.lower_is_better |= {self._named(name, w): lower for w in self.weights for name, lower in directions}

    def _load(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        """Load extractor and reference, and find the values that the metrics are to be compared with."""
        self.suite.load(module.device)
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        self.context = {**self._context(data), **self._of_reconstructions(trainer, module)}
        self.suite.to("cpu")
        if self.context:
            log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in self.context.items()))
        self.loaded = True

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self.context_due = trainer.global_step == 0  # else the first start has logged it

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step > 0:
            if not self.loaded:
                self._load_late(trainer, pl_module)
            if self.context and self.context_due:
                log_metrics(trainer, {f"metrics/{name}": value for name, value in self.context.items()})
            self.context_due = False
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _load_late(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        start = time.perf_counter()
        with showing(trainer, "preparing the metrics", once=True), interruptible(trainer):
            self._load(trainer, module)
        module.paused_seconds += (seconds := time.perf_counter() - start)
        module.measuring_seconds += seconds

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if not self.suite.names:
            return
        start, scores = time.perf_counter(), {}
        self.suite.to(module.device)
        for weights in self.weights:
            self.suite.reset()
            for indices, images in self.images(trainer, module, weights):
                self.suite.update(indices, images, self.drawn.of(indices))
            scores |= {self._named(name, weights): value for name, value in self.suite.compute().items()}
            if trainer.is_global_zero:
                self._record(trainer, module, weights)
        self.suite.reset()
        self.suite.to("cpu")  # training has the device's memory to itself
        module.add_scores(scores)
        log_metrics(trainer, {f"metrics/{name}": score for name, score in scores.items()})
        seconds = time.perf_counter() - start
        module.measuring_seconds += seconds
        log_metrics(trainer, {"metrics/seconds": seconds})

    def images(
        self, trainer: L.Trainer, module: DiffusionModule, weights: str
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Yield (indices, uint8 images (n, C, H, W)) of this rank's part of what is measured."""
        return generate_local(
            trainer, module, self.num_images, self.sampler, self.guidance, self.seed, weights,
            batch_size=self.batch_size, labels=self.drawn,
        )  # fmt: skip

    def how(self, module: DiffusionModule) -> dict[str, Any]:
        """Return what the record of a value says of how its images were made."""
        return {
            "sampler": type(self.sampler).__name__,
            "steps": len(self.sampler.spacing(module.ema_denoiser.schedule)) - 1,
            "guidance": scale_for(module, self.guidance),
        }

    def real(self, trainer: L.Trainer) -> Any:
        """Return the images of the reference split."""
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        return data.train if self.reference == "train" else data.heldout

    def _named(self, name: str, weights: str) -> str:
        return name if weights == self.weights[0] else f"{name}_{weights}"

    def _context(self, data: Any) -> dict[str, float]:
        """Return reference values: the distance of real images (the floor), and the classifier's accuracy."""
        extractor, context = self.suite.extractor, {}
        # Training images have no distance to themselves, and that of a corrected distance is another number.
        name = frechet_name(extractor, self.num_images)
        if name in self.suite.names and self.reference == "heldout" and len(data.train) >= MIN_IMAGES:
            moments, _ = self.suite.real.moments()
            floor = frechet_floor(extractor, data.train, moments, self.cache_dir, self.num_images)
            context[f"{name}{FLOOR}"] = floor
        if extractor.heldout_accuracy is not None:
            context[f"{extractor.name}_heldout_accuracy"] = extractor.heldout_accuracy
        return context

    def _of_reconstructions(self, trainer: L.Trainer, module: DiffusionModule) -> dict[str, float]:
        """Return what a run on latents can reach at best: the main metric of real images, encoded and decoded."""
        autoencoder, split = autoencoder_of(trainer), self.real(trainer)
        if autoencoder is None or sees_pixels(module.config) or not self.suite.names or not len(split):
            return {}
        self.suite.to(module.device)
        indices = range(trainer.global_rank, self.num_images, trainer.world_size)
        return of_reconstructions(self.suite, autoencoder, split, indices, module.device)

    def _record(self, trainer: L.Trainer, module: DiffusionModule, weights: str) -> None:
        """Append one line for each value to metrics.jsonl."""
        run = run_directory(trainer)
        record = run.record
        records = self.suite.records(
            weights=weights,
            **self.how(module),
            seed=self.seed,
            labels=self.drawn.choice,
            commit=f"{record.get('commit')}-dirty" if record.get("dirty") else record.get("commit"),
        )
        named = ({**asdict(value), "name": self._named(name, weights)} for name, value in records.items())
        lines = [json.dumps({"step": trainer.global_step, **line}) + "\n" for line in named]
        with open(run.metrics_jsonl, "a") as file:
            file.writelines(lines)
