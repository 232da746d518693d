"""Load a trained denoiser from a run directory, and sample from it: the public `Run` and `load_run`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkwash.checkpoints.io import read_checkpoint
from inkwash.checkpoints.posthoc import reconstruct
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.guidance import at_a_time, scale_of
from inkwash.runs.averages import length_in
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.base import Sampler
from inkwash.samplers.generate import generate, labels_for
from inkwash.training.build import build_denoiser
from inkwash.training.compute_mode import ComputeMode, precision_to_draw


@dataclass
class Run:
    """A trained denoiser, with all that sampling needs.

    Attributes:
        config: the resolved configuration.
        denoiser: in evaluation mode, on the CPU until moved.
        step: optimizer steps of the checkpoint.
        images: fingerprint of the images it was trained on; None if that is unknown.
        micro_batch: how many images each process of the training took at a time.
        compute: the mode in which the training computed; None if an older version has written the checkpoint.
    """

    config: dict[str, Any]
    denoiser: Denoiser
    step: int
    images: str | None = None
    micro_batch: int = 256
    compute: ComputeMode | None = None

    def precision(self, asked: str | None, device: torch.device) -> str:
        """Return the precision to draw in: the argument, else that of the training if the device is of its kind.

        Puts the network into the memory format of the training, too.
        """
        if self.compute is not None and self.compute.device == device.type:
            self.compute.arrange(self.denoiser)
        trainer = self.config["trainer"]
        return precision_to_draw({**trainer, "precision": asked or trainer["precision"]}, self.compute, device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return tuple(self.config["data"]["shape"])

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for an unconditional network."""
        return self.config["model"].get("num_classes")

    def scale(self, guidance: float | None) -> float:
        """Return the scale of classifier-free guidance: the argument, else that of the run's own sample grids."""
        if guidance is None and self.num_classes is not None:
            guidance = self.config["callbacks"].get("samples", {}).get("guidance")
        return scale_of(guidance, self.num_classes, self.config["loss"].get("label_dropout", 0.1))

    def sample(self, sampler: Sampler, num_images: int, guidance: float = 1.0, seed: int = 0) -> Tensor:
        """Return images 0 .. num_images - 1 of a seed, uint8 (n, C, H, W); image i is of class i mod num_classes."""
        indices = range(num_images)
        device = next(self.denoiser.parameters()).device
        labels = labels_for(indices, self.num_classes)
        scale = self.scale(guidance)
        size = at_a_time(self.micro_batch, scale)
        batches = generate(self.denoiser, sampler, self.shape, indices, labels, scale, seed, size, device)
        return torch.cat([images for _, images in batches])


def load_run(directory: str | Path, checkpoint: str = "last.ckpt", weights: str = "ema") -> Run:
    """Load a run from its directory, which may have been moved.

    Args:
        checkpoint: a file of its checkpoints/ folder: last.ckpt or best.ckpt.
        weights: ema, raw, the name of one of the run's further averages, or posthoc_LENGTH (runs/averages.py).

    Raises:
        UserError: it is not a run directory, or the checkpoint does not fit its config.yaml.
    """
    run = RunDirectory(directory)
    path = run.checkpoints.path / checkpoint
    if not run.config_path.is_file():
        raise UserError(f"run={run} is not a run directory: it has no config.yaml (make train prints the directory)")
    if not path.is_file():
        names = sorted(file.name for file in path.parent.glob("*.ckpt"))
        raise UserError(f"{path} does not exist; {run} has {', '.join(names) or 'no checkpoint yet'}")
    config = run.config
    denoiser = build_denoiser(config)
    stored = read_checkpoint(path)
    prefixes = {"ema": "ema_denoiser.", "raw": "denoiser."}
    prefixes |= {name: f"averages.{name}." for name in config.get("averages") or {}}
    length = length_in(weights)
    if length is None and weights not in prefixes:
        raise UserError(f"weights={weights}: this run has {', '.join(prefixes)}")
    prefix = prefixes["ema" if length is not None else weights]  # whose buffers an average of any length takes
    state = {key.removeprefix(prefix): value for key, value in stored["state_dict"].items() if key.startswith(prefix)}
    step = stored["global_step"]
    if length is not None:
        made, step = reconstruct(run.snapshots, length, step)
        state |= made
    try:
        denoiser.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} is a checkpoint of another model than {run.config_path} describes") from error
    denoiser = denoiser.eval().requires_grad_(False)
    mode = ComputeMode.stored(stored.get("compute"))
    return Run(config, denoiser, step, stored.get("images"), _micro_batch(config, stored), mode)


def _micro_batch(config: dict[str, Any], stored: dict[str, Any]) -> int:
    """Return how many images each process of the training of a checkpoint took at a time."""
    layout, parts = stored.get("layout") or {}, config["trainer"]["accumulate_grad_batches"]
    parts = layout.get("micro_batches") or (parts if isinstance(parts, int) else 1)
    return max(1, config["data"]["batch_size"] // (layout.get("processes", 1) * parts))


def load_denoiser(run: str, checkpoint: str, weights: str, like: str) -> Denoiser:
    """Return the denoiser of a run, given by its directory or name, to use beside that of the run `like`.

    Raises:
        UserError: its images have another shape, or it was trained with other classes.
    """
    loaded, other = load_run(RunDirectory.find(run).path, checkpoint, weights), RunDirectory.find(like).config
    if list(loaded.shape) != other["data"]["shape"]:
        raise UserError(f"run={run} draws images of shape {list(loaded.shape)}, run={like} of {other['data']['shape']}")
    classes = other["model"].get("num_classes")
    if classes is not None and loaded.num_classes not in (None, classes):
        raise UserError(f"run={run} was trained with {loaded.num_classes} classes, run={like} with {classes}")
    return loaded.denoiser
