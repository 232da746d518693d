"""The Frechet distance during training, in whatever features the data set has a meaning for."""

import json
import logging
from dataclasses import asdict
from typing import Any

import lightning as L
import torch

from inkwash.errors import UserError
from inkwash.metrics.features import FeatureExtractor, NotApplicableError
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.record import MetricRecord, frechet_name
from inkwash.metrics.reference import frechet_floor, reference_statistics
from inkwash.samplers.base import Sampler
from inkwash.samplers.generate import labels_for
from inkwash.training.callbacks.generation import generate_share
from inkwash.training.callbacks.periodic import Periodic, log_metrics, run_directory
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)

MIN_IMAGES = 2


class Frechet(Periodic):
    """Measures num_images images of the averaged weights against the whole held-out split, every rank its share.

    With classifier features and a class-conditional model the same images give the share that the classifier sees as
    the class that was asked for. Each value goes to the loggers and, with its whole protocol, to metrics.jsonl.

    Args:
        every_n_steps: the cadence.
        num_images: how many images; part of the metric's name.
        sampler, guidance, seed: how they are drawn.
        extractor: what sees them.
        cache_dir: keeps the statistics of the real images.
        batch_size: images drawn at once.
    """

    def __init__(
        self,
        every_n_steps: int | None,
        num_images: int,
        sampler: Sampler,
        extractor: FeatureExtractor,
        cache_dir: str,
        guidance: float = 1.0,
        seed: int = 0,
        batch_size: int = 256,
    ):
        super().__init__(every_n_steps)
        if num_images < MIN_IMAGES:
            raise UserError(f"callbacks.fid.num_images={num_images} must be at least {MIN_IMAGES}")
        self.num_images, self.sampler, self.extractor, self.cache_dir = num_images, sampler, extractor, cache_dir
        self.guidance, self.seed, self.batch_size = guidance, seed, batch_size
        self.name: str | None = None  # until on_fit_start; for good where the extractor cannot see this data

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Find the sampling times, the extractor's weights and the reference, where a failure costs nothing yet."""
        self.sampler.spacing(pl_module.denoiser.schedule)
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        try:
            self.extractor.prepare(data.train, data.heldout)
        except NotApplicableError as error:
            log.warning("no Frechet distance: %s", error)
            return
        self.extractor.to(pl_module.device)
        self.reference = reference_statistics(self.extractor, data.heldout, self.cache_dir)
        self.name = frechet_name(self.extractor, self.num_images)
        pl_module.score_names.append(self.name)
        floor = frechet_floor(self.extractor, data.train, self.reference, self.cache_dir, self.num_images)
        self.extractor.to("cpu")
        context = {f"{self.name}_of_train_images": floor}
        if self.extractor.heldout_accuracy is not None:
            context[f"{self.extractor.name}_heldout_accuracy"] = self.extractor.heldout_accuracy
        log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in context.items()))
        if trainer.global_step == 0:
            log_metrics(trainer, {f"metrics/{name}": value for name, value in context.items()})

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        if self.name is None:
            return
        self.extractor.to(module.device)
        # NCCL reduces nothing that lies on the CPU.
        distance = FrechetDistance(self.reference).to(module.device)
        right = torch.zeros((), dtype=torch.int64, device=module.device)
        for indices, images in generate_share(
            trainer, module, self.num_images, self.sampler, self.guidance, self.seed, batch_size=self.batch_size
        ):
            features = self.extractor(images)
            distance.update(features)
            logits, labels = self.extractor.logits(features), labels_for(indices, module.num_classes)
            if logits is not None and labels is not None:
                right += (logits.argmax(dim=1) == labels.to(logits.device)).sum()
        self.extractor.to("cpu")  # training has the device's memory to itself
        # Every rank must take the same decisions from the value, whatever its own last digits.
        value = trainer.strategy.broadcast(distance.compute())
        right = trainer.strategy.reduce(right, reduce_op="sum")
        module.scores = {self.name: value}
        if module.num_classes is not None and self.extractor.heldout_accuracy is not None:
            module.scores[f"accuracy_{self.extractor.name}_{self.num_images}"] = int(right) / self.num_images
        module.scores_step = trainer.global_step
        log_metrics(trainer, {f"metrics/{name}": score for name, score in module.scores.items()})
        if trainer.is_global_zero:
            self._record(trainer, module)

    def _record(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        """Append one line for each value to metrics.jsonl."""
        lines = []
        for name, value in module.scores.items():
            record = MetricRecord(
                name=name,
                value=value,
                n_real=self.reference.n,
                n_fake=self.num_images,
                extractor=self.extractor.name,
                extractor_hash=self.extractor.hash,
                reference="heldout",
                weights="ema",
                sampler=type(self.sampler).__name__,
                steps=len(self.sampler.spacing(module.ema_denoiser.schedule)) - 1,
                guidance=self.guidance if module.num_classes is not None else 1.0,
            )
            lines.append(json.dumps({"step": trainer.global_step, **asdict(record)}) + "\n")
        with open(run_directory(trainer) / "metrics.jsonl", "a") as file:
            file.writelines(lines)
