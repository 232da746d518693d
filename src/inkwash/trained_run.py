"""A trained denoiser with all that sampling needs: the public `Run`."""

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inkwash.autoencoders.base import Autoencoder
from inkwash.autoencoders.refusals import check_clip
from inkwash.config.instantiate import build
from inkwash.config.shapes import network_shape
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.guidance_scale import at_a_time, scale_of
from inkwash.reports.curve_figure import draw_curves
from inkwash.reports.run_files import RunFiles
from inkwash.runs.directory import RunDirectory
from inkwash.runs.labels import label_of
from inkwash.samplers.base import Sampler, Watch
from inkwash.samplers.chosen_labels import DEFAULT, Label, chosen_labels, count_of
from inkwash.samplers.generate import Decode, generate
from inkwash.samplers.trajectory import Trajectory
from inkwash.training.compute_mode import ComputeMode, precision_to_draw

IMAGES, FRAMES = 4, 12  # of a trajectory; frames to twice as many


def old_order(sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let `Run.sample` take its arguments in their former order, sampler first, for one release."""

    @functools.wraps(sample)
    def sample_in_either(self: "Run", *args: Any, **kwargs: Any) -> Tensor:
        if not (args and isinstance(args[0], Sampler)):
            return sample(self, *args, **kwargs)
        warnings.warn(
            "run.sample(sampler, num_images) is run.sample(num_images, sampler=sampler) now", DeprecationWarning, 2
        )
        former = dict(zip(("sampler", "num_images", "guidance", "seed"), args, strict=False))
        return sample(self, **{"guidance": 1.0, **former, **kwargs})

    return sample_in_either


@dataclass(repr=False)
class Run:
    """A trained denoiser, with all that sampling needs.

    >>> run = inkwash.load_run("latest")
    >>> images, figure, rows = run.sample(16), run.plot(), run.metrics

    Attributes:
        config: the resolved configuration.
        denoiser: in evaluation mode, on the CPU until moved.
        step: optimizer steps of the checkpoint.
        images: fingerprint of the images it was trained on; None if that is unknown.
        micro_batch: how many images each process of the training took at a time.
        compute: the mode in which the training computed; None if an older version has written the checkpoint.
        directory: of the run; None if it has none, because `inkwash.fit` has trained it.
        source: the checkpoint and the weights that were loaded, for `repr`.
        rows: what the training logged, if it has no directory: a dictionary for each step.
        autoencoder: makes images of the latents that the denoiser draws; None if it draws images.
    """

    config: dict[str, Any]
    denoiser: Denoiser
    step: int
    images: str | None = None
    micro_batch: int = 256
    compute: ComputeMode | None = None
    directory: RunDirectory | None = None
    source: str = ""
    rows: Sequence[dict[str, float]] = ()
    autoencoder: Autoencoder | None = None

    def __repr__(self) -> str:
        """Return at most ten lines: what it is, how it was trained, how good it is, how it draws."""
        path = None if self.directory is None else self.directory.path  # runs/latest leads to a run
        named = "without a directory" if path is None else path.parent / path.resolve().name
        count = sum(parameter.numel() for parameter in self.denoiser.parameters())
        size = " x ".join(map(str, self.shape))
        kinds = "no classes" if self.num_classes is None else f"{self.num_classes} classes"
        names = f": {', '.join(self.classes[:5])}{', ...' * (len(self.classes) > 5)}" if self.classes else ""
        schedule, prediction = type(self.denoiser.schedule).__name__, self.denoiser.prediction.name
        lines = [
            f"Run {named}, step {self.step}{self.source and f', {self.source}'}",
            f"  images   {size}, {kinds}{names}",
            f"  network  {type(self.denoiser.net).__name__}, {count:,} parameters, {prediction} on {schedule}",
            f"  sampler  {type(self.sampler).__name__}, {self._steps()} steps, guidance {self.scale(None):g}",
        ]
        return "\n".join([*lines, *self._told_metrics()])

    def _told_metrics(self) -> list[str]:
        if self.directory is None:
            return []
        files = RunFiles(self.directory)
        floors = {name: files.floor(name) for name in files.latest}
        return [
            f"  {name} {record['value']:.4g}{'' if floors[name] is None else f' (real images {floors[name]:.4g})'}"
            for name, record in list(files.latest.items())[:4]
        ]

    # --- Facts --------------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return tuple(self.config["data"]["shape"])

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of what the denoiser draws: of an image, or of its latents."""
        return network_shape(self.config)

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for an unconditional network."""
        return self.config["model"].get("num_classes")

    @property
    def classes(self) -> list[str]:
        """Names of the classes; [] if they have none."""
        return self.directory.classes if self.directory is not None and self.num_classes is not None else []

    @functools.cached_property
    def sampler(self) -> Sampler:
        """The run's own sampler, that of its configuration."""
        return build(self.config["sampler"])

    @property
    def metrics(self) -> list[dict[str, float]]:
        """Logged values: a dictionary for each step, of `step` and the values of that step by name.

        `pandas.DataFrame(run.metrics)` makes a table of it.
        """
        if self.directory is None:
            return [dict(row) for row in self.rows]
        rows: dict[int, dict[str, float]] = {}
        for name, (steps, values) in RunFiles(self.directory).curves.items():
            for step, value in zip(steps, values, strict=True):
                rows.setdefault(step, {"step": step})[name] = value
        return [rows[step] for step in sorted(rows)]

    def plot(self) -> Any:
        """Draw loss and metrics against steps, with what real images reach; returns a matplotlib figure."""
        return draw_curves(self.metrics)

    # --- Drawing ------------------------------------------------------------------------------------------------------

    @old_order
    def sample(
        self,
        num_images: int | None = None,
        labels: Label | Sequence[Label] | Tensor | None = None,
        guidance: float | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Draw images, uint8 (n, C, H, W) on the CPU: images 0 .. n - 1 of a seed, the same for any n.

        >>> images = run.sample(16)
        >>> images = run.sample(labels=[3, 7], guidance=2.0, sampler=inkwash.DDIM(inkwash.Trailing(50)))

        Args:
            num_images: None for one for each label, or 16.
            labels: classes by number or name, one for each image or one for all; None for every class in turn.
            guidance: scale of classifier-free guidance, 1 for none; None for that of the run's own grids.
            sampler: None for the run's own.

        Raises:
            UserError: the run has no such class, or cannot be guided.
        """
        count, y = self._chosen(labels, num_images, DEFAULT)
        return self._draw(count, y, guidance, sampler, seed)

    def trajectory(
        self,
        num_images: int | None = None,
        labels: Label | Sequence[Label] | Tensor | None = None,
        guidance: float | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
    ) -> Trajectory:
        """Draw images as `sample` does and return their way: `.times`, `.x_t` and the estimates `.x_0`, noise first.

        Args:
            num_images: None for one for each label, or 4; the others are those of `sample`.

        Raises:
            UserError: as `sample`.
        """
        count, y = self._chosen(labels, num_images, IMAGES)
        way = Trajectory(self.denoiser.schedule, count, FRAMES, self.decode)
        way.finish(self._draw(count, y, guidance, sampler, seed, way))
        return way

    def _draw(
        self, count: int, y: Tensor | None, guidance: float | None, sampler: Sampler | None, seed: int,
        watch: Watch | None = None,
    ) -> Tensor:  # fmt: skip
        if not isinstance(sampler, Sampler | None):
            raise UserError(f"sampler={sampler!r} must be a sampler: inkwash.DDIM(inkwash.Trailing(50)), for example")
        scale = self.scale(guidance)
        size = max(at_a_time(self.micro_batch, scale), count if watch is not None else 1)
        device = next(self.denoiser.parameters()).device
        self.prepare(chosen := sampler or self.sampler, device)
        options: Any = {"seed": seed, "batch_size": size, "device": device, "watch": watch, "decode": self.decode}
        batches = generate(self.denoiser, chosen, self.network_shape, range(count), y, scale, **options)
        return torch.cat([images.cpu() for _, images in batches])

    def prepare(self, sampler: Sampler, device: torch.device) -> None:
        """Move denoiser and autoencoder to a device.

        Raises:
            UserError: see check_sampler.
        """
        self.check_sampler(sampler)
        self.denoiser.to(device)
        if self.autoencoder is not None:
            self.autoencoder.to(device)

    def check_sampler(self, sampler: Sampler) -> None:
        """Check that the run can draw with a sampler.

        Raises:
            UserError: the sampler clips latents like pixels, or is for other estimates; the run is an autoencoder.
        """
        if getattr(self.denoiser.net, "reconstructs", False):
            raise UserError(
                "this run is an autoencoder, which draws nothing by itself: train a network on its latents with "
                "autoencoder=kl autoencoder.path=RUN"
            )
        check_clip(sampler.clip, self.config)
        loss = self.config["loss"]
        sampler.check_estimates(lambda: "_target_" in loss and build(loss).posterior_mean)  # inkwash.fit writes none

    @property
    def decode(self) -> Decode | None:
        """The function from latents to images; None if the denoiser draws images."""
        return None if self.autoencoder is None else self.autoencoder.decode

    def _chosen(self, labels: Any, num_images: int | None, default: int) -> tuple[int, Tensor | None]:
        """Return the number of images and their labels, None for a network without classes."""
        directory = self.directory if self.classes else None
        named = None if directory is None else functools.partial(label_of, run=directory)
        y = chosen_labels(labels, num_images, self.num_classes, named, default)
        return count_of(num_images, default) if y is None else len(y), y

    def scale(self, guidance: float | None) -> float:
        """Return the scale of classifier-free guidance: the argument, else that of the run's own sample grids."""
        if guidance is None and self.num_classes is not None:
            guidance = self.config["callbacks"].get("samples", {}).get("guidance")
        return scale_of(guidance, self.num_classes, self.config["loss"].get("label_dropout", 0.1))

    def precision(self, asked: str | None, device: torch.device) -> str:
        """Return the precision to draw in: the argument, else that of the training if the device is of its kind.

        Puts the network into the memory format of the training, too.
        """
        if self.compute is not None and self.compute.device == device.type:
            self.compute.arrange(self.denoiser)
        trainer = self.config["trainer"]
        return precision_to_draw({**trainer, "precision": asked or trainer["precision"]}, self.compute, device)

    def _steps(self) -> int:
        return len(self.sampler.spacing(self.denoiser.schedule)) - 1
