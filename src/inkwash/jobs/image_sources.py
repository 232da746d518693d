"""Where the images come from that are measured: a trained denoiser, files, or a pipeline of diffusers."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inkwash.config.instantiate import build
from inkwash.data.decode import decode
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.guidance import ClassifierFree
from inkwash.random import generator
from inkwash.run import Run
from inkwash.runs.provenance import version
from inkwash.samplers.generate import generate, labels_for
from inkwash.training.precision import autocast, resolve_precision

Batches = Iterator[tuple[Sequence[int], Tensor, Tensor | None]]
Reader = Callable[[Sequence[int], int], Iterator[tuple[Sequence[int], Tensor]]]


@dataclasses.dataclass
class Drawn:
    """One cell's images, this rank's share of them, and how they come about.

    Attributes:
        batches: (indices, uint8 images, labels asked for).
        facts: weights, sampler, steps, guidance and seed of MetricRecord.
        evaluations: network evaluations for each image so far, None where nobody can count them.
    """

    batches: Batches
    facts: dict[str, Any]
    evaluations: "Counter | None" = None


class Counter:
    """Counts the images that networks are given, however guidance and samplers call them: those of every denoiser in a
    denoiser, the worse one of autoguidance among them.
    """

    def __init__(self, denoiser: nn.Module):
        self.images = 0
        for part in denoiser.modules():
            if isinstance(part, Denoiser):
                part.net.register_forward_pre_hook(self._count)

    def _count(self, net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images += len(inputs[0])


def from_run(
    run: Run, config: dict[str, Any], cell: dict[str, Any], indices: Sequence[int], device: torch.device
) -> Drawn:
    """Images that a trained denoiser draws, in the precision of its training."""
    sampler = build(cell["sampler"])
    precision = resolve_precision(config["trainer"]["precision"] or run.config["trainer"]["precision"], device)
    labels = labels_for(indices, run.num_classes)
    guidance = cell["guidance"]
    guide = build(config["guide"])
    if guide.func is ClassifierFree:
        run.scale(guidance)  # says what is wrong with it
    denoiser = guide(run.denoiser, guidance) if guidance != 1 else run.denoiser
    counter = Counter(denoiser)

    def batches() -> Batches:
        with autocast(precision, device):
            for index, images in generate(
                denoiser.to(device), sampler, run.shape, indices, labels, 1.0, cell["seed"],
                config["batch_size"], device,
            ):  # fmt: skip
                yield index, images, labels_for(index, run.num_classes)

    facts = {
        "weights": cell["weights"],
        "sampler": cell["sampler"]["_target_"].rpartition(".")[2],
        "steps": len(sampler.spacing(run.denoiser.schedule)) - 1,
        "guidance": guidance,
        "seed": cell["seed"],
        "commit": version(),
    }
    return Drawn(batches(), facts, counter)


def from_elsewhere(config: dict[str, Any], cell: dict[str, Any], indices: Sequence[int]) -> Drawn:
    """Images of a folder, or of a pipeline of diffusers."""
    shape = tuple(config["data"]["shape"])
    facts: dict[str, Any] = {"weights": "unknown", "sampler": "unknown", "steps": 0, "guidance": 1.0}
    facts |= {"seed": cell["seed"], "commit": version()}
    if config["images"] is not None:
        files = image_files(Path(config["images"]), shape, cell["num_images"])
        return Drawn(((i, x, None) for i, x in files(indices, config["batch_size"])), facts)
    steps = cell["steps"] or 50
    pipeline = pipeline_images(Path(config["pipeline"]), shape, steps, cell["seed"])
    facts |= {"sampler": "pipeline", "steps": steps}
    return Drawn(((i, x, None) for i, x in pipeline(indices, config["batch_size"])), facts)


def image_files(folder: Path, shape: tuple[int, int, int], num_images: int) -> Reader:
    """The first num_images images of a folder, in the order of their names; they must have the shape as they are."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if len(paths) < num_images:
        raise UserError(f"images={folder} holds {len(paths)} images: pass num_images={len(paths)} or fewer")

    def read(indices: Sequence[int], batch_size: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            yield batch, torch.stack([decode(paths[i], shape, False, str(paths[i])) for i in batch])

    return read


def pipeline_images(folder: Path, shape: tuple[int, int, int], steps: int, seed: int) -> Reader:
    """Images of an unconditional pipeline of diffusers, image i from a generator of its own."""
    try:
        from diffusers import DiffusionPipeline  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("pipeline= needs diffusers: pip install diffusers") from error
    try:
        pipeline: Any = DiffusionPipeline.from_pretrained(folder)
    except Exception as error:  # it raises whatever its readers raise
        raise UserError(f"pipeline={folder} is no pipeline that diffusers can read: {error}") from error
    if getattr(getattr(getattr(pipeline, "unet", None), "config", None), "num_class_embeds", None) is not None:
        raise UserError(
            f"pipeline={folder} draws by class, which {type(pipeline).__name__} cannot be told: "
            f"make import folder={folder} run=NAME, then evaluate run=NAME"
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    def draw(indices: Sequence[int], batch_size: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            generators = [generator(seed, "sample", offset=i) for i in batch]
            found = pipeline(
                batch_size=len(batch), generator=generators, num_inference_steps=steps, output_type="np"
            ).images
            images = torch.from_numpy(np.round(255 * found).astype(np.uint8)).permute(0, 3, 1, 2)
            if images.shape[1:] != shape:
                raise UserError(f"pipeline={folder} draws {list(images.shape[1:])}, but data.shape={list(shape)}")
            yield batch, images

    return draw
