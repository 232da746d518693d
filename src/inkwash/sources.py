"""Images to measure that no run of ours draws: files, and pipelines of diffusers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkwash.data.decode import decode
from inkwash.errors import UserError
from inkwash.random import generator

Reader = Callable[[Sequence[int], int], Iterator[tuple[Sequence[int], Tensor]]]


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
