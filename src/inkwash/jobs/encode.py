"""Encode a set for the training on its latents: what each rank of `inkwash encode` runs."""

import logging
from pathlib import Path

import torch.distributed as dist

from inkwash.autoencoders import cache
from inkwash.config.instantiate import build
from inkwash.data.images import Flipped
from inkwash.metrics.ranks import barrier
from inkwash.reports.progress_bar import progress_bar
from inkwash.runs import config_file
from inkwash.training.build import build_autoencoder
from inkwash.training.trainer import resolve_device, start_group


def encode(directory: Path) -> None:
    """Fill the folder `out` of directory/encode.yaml with the moments of the training images, or go on with it."""
    config = config_file.load(directory / "encode.yaml")
    device = resolve_device(config["trainer"]["accelerator"])
    rank, world = start_group(device)
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s")
    data, autoencoder = build({**config["data"], "num_workers": 0}), build_autoencoder(config)
    assert autoencoder is not None
    out, images = Path(config["out"]), Flipped(data.train) if data.flip else data.train
    meta = cache.identity(data.train.fingerprint, len(images), data.flip, autoencoder.to(device))
    if rank == 0:
        cache.begin(out, meta)
    barrier()
    with progress_bar(total=len(images) // world, desc="encoding images", unit="images", disable=rank != 0) as bar:
        cache.fill(out, meta, images, autoencoder, rank, world, bar.update)
    barrier()
    if rank == 0:
        cache.finish(out)
    if dist.is_initialized():
        dist.destroy_process_group()
