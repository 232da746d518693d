"""Images to evaluate: samples of a run, image files, or samples of a diffusers pipeline."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inkwash.config.instantiate import build
from inkwash.data.decode import decode
from inkwash.data.listing import images_below
from inkwash.data.opening import size_of
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.files import read_json
from inkwash.guidance import ClassifierFree
from inkwash.guidance_scale import at_a_time
from inkwash.random import generator
from inkwash.run import Run
from inkwash.runs.provenance import version
from inkwash.samplers.generate import ClassLabels, generate
from inkwash.training.precision import autocast

Batches = Iterator[tuple[Sequence[int], Tensor, Tensor | None]]
# Images at a time where no training says how many fit: of a pipeline as many as diffusers' own example draws.
FILES_AT_A_TIME, PIPELINE_BATCH = 256, 16
Reader = Callable[[Sequence[int], int], Iterator[tuple[Sequence[int], Tensor]]]


@dataclasses.dataclass
class ImageSource:
    """This rank's images of a cell, and how they are made.

    Attributes:
        batches: (indices, uint8 images (n, C, H, W), labels (n,) that were asked for, or None).
        facts: weights, sampler, steps, guidance, seed, labels and commit of MetricRecord.
        batch_size: images at a time.
        evaluations: counts the network evaluations; None if they cannot be counted.
    """

    batches: Batches
    facts: dict[str, Any]
    batch_size: int
    evaluations: "Counter | None" = None


class Counter:
    """Counts network evaluations: each image of each call of each network inside a denoiser.

    With guidance these are several networks, or several calls of one, for a step of the sampler.
    """

    def __init__(self, denoiser: nn.Module):
        self.images = 0
        for part in denoiser.modules():
            if isinstance(part, Denoiser):
                part.net.register_forward_pre_hook(self._count)

    def _count(self, net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images += len(inputs[0])


def from_run(
    run: Run,
    config: dict[str, Any],
    cell: dict[str, Any],
    indices: Sequence[int],
    device: torch.device,
    labels: ClassLabels,
) -> ImageSource:
    """Return samples of a run for these classes, in the precision of its training."""
    sampler = build(cell["sampler"])
    precision = run.precision(config["trainer"]["precision"], device)
    guidance = cell["guidance"]
    guide, size = build(config["guide"]), run.micro_batch
    if issubclass(guide.func, ClassifierFree):
        run.scale(guidance)  # raises UserError for a scale that does not fit the run
        size = at_a_time(size, guidance)
    size = config["batch_size"] or size
    denoiser = guide(run.denoiser, guidance) if guidance != 1 else run.denoiser
    run.prepare(sampler, device)
    counter = Counter(denoiser)

    def batches() -> Batches:
        with autocast(precision, device):
            for index, images in generate(
                denoiser.to(device), sampler, run.network_shape, indices, labels.of(indices), 1.0, cell["seed"],
                size, device, decode=run.decode,
            ):  # fmt: skip
                yield index, images, labels.of(index)

    facts = {
        "weights": cell["weights"],
        "sampler": cell["sampler"]["_target_"].rpartition(".")[2],
        "steps": len(sampler.spacing(run.denoiser.schedule)) - 1,
        "guidance": guidance,
        "seed": cell["seed"],
        "labels": labels.choice,
        "commit": version(),
    }
    return ImageSource(batches(), facts, size, counter)


def from_elsewhere(config: dict[str, Any], cell: dict[str, Any], indices: Sequence[int]) -> ImageSource:
    """Return the images of a folder, or samples of a diffusers pipeline."""
    shape = tuple(config["data"]["shape"])
    facts: dict[str, Any] = {"weights": "unknown", "sampler": "unknown", "steps": 0, "guidance": 1.0}
    facts |= {"seed": cell["seed"], "commit": version()}
    if config["images"] is not None:
        files = image_files(Path(config["images"]), shape, cell["num_images"])
        size = config["batch_size"] or FILES_AT_A_TIME
        return ImageSource(((i, x, None) for i, x in files(indices, size)), facts, size)
    steps = cell["steps"] or 50
    pipeline = pipeline_images(Path(config["pipeline"]), shape, steps, cell["seed"])
    facts |= {"sampler": "pipeline", "steps": steps}
    size = config["batch_size"] or PIPELINE_BATCH
    return ImageSource(((i, x, None) for i, x in pipeline(indices, size)), facts, size)


def image_files(folder: Path, shape: tuple[int, int, int], num_images: int) -> Reader:
    """Return a reader of the first num_images images of a folder, in the order of their names.

    They are those that `data=folder` would take: not in hidden folders, nor files of another kind. Of a folder that
    `inkwash sample` has written it is the images, and not the grid of them.

    Raises:
        UserError: there are fewer, or one has another size; none is resized.
    """
    if (folder / "sample.yaml").is_file() and (folder / "images").is_dir():
        folder = folder / "images"
    paths = images_below(folder).files
    if len(paths) < num_images:
        raise UserError(f"images={folder} holds {len(paths)} images: pass num_images={len(paths)} or fewer")

    def load(path: Path) -> Tensor:
        try:
            size = size_of(path)
        except (OSError, SyntaxError, ValueError):
            size = shape[1:]  # `decode` says what is wrong with it
        if size != shape[1:]:
            raise UserError(
                f"{path} has {size[0]} x {size[1]} pixels, but data.shape={list(shape)}: images are measured as they "
                "are, so scale both alike before"
            )
        return decode(path, shape, False, str(path))

    def read(indices: Sequence[int], batch_size: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            yield batch, torch.stack([load(paths[i]) for i in batch])

    return read


def _draws_by_class(folder: Path) -> bool:
    """Tell whether the network of a pipeline's folder has class embeddings."""
    with contextlib.suppress(UserError):
        return read_json(folder / "unet" / "config.json").get("num_class_embeds") is not None
    return False


def pipeline_images(folder: Path, shape: tuple[int, int, int], steps: int, seed: int) -> Reader:
    """Return a reader of samples of an unconditional diffusers pipeline, image i from a generator of its own.

    Raises:
        UserError: diffusers is not installed, or the folder is not such a pipeline; when reading, another shape.
    """
    try:
        from diffusers import DiffusionPipeline  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("pipeline= needs diffusers: pip install diffusers") from error
    if (folder / "vae").is_dir() and (folder / "pipeline.py").is_file():
        raise UserError(
            f"pipeline={folder} draws latents by code of its own, pipeline.py, which is not run here: evaluate the run "
            "that it was exported from"
        )
    if _draws_by_class(folder):
        raise UserError(
            f"pipeline={folder} draws by class, and there are no classes to ask it for: "
            f"make import folder={folder} run=NAME, then evaluate run=NAME"
        )
    try:
        pipeline: Any = DiffusionPipeline.from_pretrained(folder)
    except Exception as error:  # diffusers documents no errors
        raise UserError(f"pipeline={folder} is not a pipeline that diffusers can read: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    def read(indices: Sequence[int], batch_size: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            generators = [generator(seed, "sample", offset=i) for i in batch]
            pixels = pipeline(
                batch_size=len(batch), generator=generators, num_inference_steps=steps, output_type="np"
            ).images
            images = torch.from_numpy(np.round(255 * pixels).astype(np.uint8)).permute(0, 3, 1, 2)
            if images.shape[1:] != shape:
                raise UserError(f"pipeline={folder} draws {list(images.shape[1:])}, but data.shape={list(shape)}")
            yield batch, images

    return read
