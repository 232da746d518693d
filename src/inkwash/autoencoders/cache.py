"""Moments of a whole set on the disk: encoded once, by any number of ranks, and mapped into memory by the training.

OUT/moments     float16 (N, 2 c, h, w), or (2 N, ...) with mirror images; (N, c, h, w) of an autoencoder without draws
OUT/meta.json   of which images and which autoencoder
OUT.partial/    until all are there, with a byte for each block of rows in `done`: the same command goes on with it
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from inkwash.autoencoders.base import Autoencoder
from inkwash.errors import UserError
from inkwash.files import make_folder, read_json, write_json
from inkwash.images import to_float

ROWS = 256  # of a block
FILE, DONE, META = "moments", "done", "meta.json"


def identity(images: str, count: int, flip: bool, autoencoder: Autoencoder) -> dict[str, Any]:
    """Return what the moments of `count` images and mirror images depend on.

    Args:
        images: fingerprint of the images.
        count: number of rows.
    """
    c, h, w = autoencoder.latent_shape
    shape = [2 * c if autoencoder.draws else c, h, w]
    return {"images": images, "flip": flip, "autoencoder": autoencoder.fingerprint, "count": count, "shape": shape}


def begin(out: Path, meta: dict[str, Any]) -> None:
    """Make OUT.partial, on one rank, unless one with the same meta is there; do nothing if OUT is finished.

    Raises:
        UserError: OUT is of other images or another autoencoder, or something else, as OUT.partial may be; or the disk
            has no room.
    """
    if out.exists() and not (out / META).is_file():
        try:
            out.rmdir()  # an empty folder may be used: it makes place for OUT.partial
        except OSError as error:
            raise UserError(f"out={out} exists and holds no latents: choose another folder, or delete it") from error
    if out.exists():
        check(out, meta, f"out={out}")
        return
    partial = _partial(out)
    if (partial / META).is_file() and read_json(partial / META) == meta:
        return
    if partial.exists() and not {path.name for path in partial.glob("*")} <= {FILE, DONE, META}:
        raise UserError(
            f"out={out}: latents are collected in {partial}, which holds something else: choose another folder, or "
            "delete it"
        )
    shutil.rmtree(partial, ignore_errors=True)
    make_folder("out", partial)
    needed, free = 2 * meta["count"] * int(np.prod(meta["shape"])), shutil.disk_usage(partial).free
    if needed > free:
        shutil.rmtree(partial)
        raise UserError(f"out={out}: the latents take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are left there")
    for name, size in ((FILE, needed), (DONE, _blocks(meta))):
        with open(partial / name, "wb") as file:
            file.truncate(size)
    write_json(partial / META, meta)


def fill(
    out: Path, meta: dict[str, Any], images: Any, autoencoder: Autoencoder, rank: int, world: int,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> None:  # fmt: skip
    """Encode this rank's blocks of those that are missing in OUT.partial; `begin` was called by one rank before.

    Args:
        images: gives batches of images, uint8 (n, C, H, W), and labels.
        on_rows: called with the number of rows of each block, encoded now or before.
    """
    if out.exists():
        return
    partial, device = _partial(out), autoencoder.mean.device
    moments, done = _mapped(partial, meta, "r+"), np.memmap(partial / DONE, np.uint8, "r+")
    for block in range(rank, len(done), world):
        rows = range(block * ROWS, min((block + 1) * ROWS, meta["count"]))
        if not done[block]:
            x = to_float(images.__getitems__([*rows])[0].to(device))
            moments[rows.start : rows.stop] = autoencoder.moments_of(x).half().cpu().numpy()
            moments.flush()  # before the mark that says so
            done[block] = 1
            done.flush()
        on_rows(len(rows))


def finish(out: Path) -> None:
    """Rename OUT.partial to OUT, on one rank, after all have filled their blocks."""
    if out.exists():
        return
    partial = _partial(out)
    if not np.fromfile(partial / DONE, np.uint8).all():
        raise UserError(f"{partial} lacks some blocks of latents: start the same command again")
    (partial / DONE).unlink()
    os.replace(partial, out)


def opened(path: Path, meta: dict[str, Any]) -> np.memmap:
    """Map finished moments, float16 (rows, channels, h, w).

    Raises:
        UserError: there are none, they are of other images or another autoencoder, or the file is cut short.
    """
    key = f"autoencoder.cache={path}"
    if not (path / META).is_file():
        raise UserError(f"{key} holds no latents: make encode out={path} writes them")
    check(path, meta, key)
    needed = 2 * meta["count"] * int(np.prod(meta["shape"]))
    if (path / FILE).stat().st_size != needed:
        raise UserError(f"{path / FILE} is damaged: delete {path}, and encode again")
    return _mapped(path, meta, "r")


def check(path: Path, meta: dict[str, Any], key: str) -> None:
    """Raise UserError if the moments of a folder are of something else."""
    found = read_json(path / META)
    for name, what in (
        ("autoencoder", "of another autoencoder"), ("images", "of other images"),
        ("flip", "with mirror images, or without, unlike data.flip"), ("shape", "of another shape"),
    ):  # fmt: skip
        if found.get(name) != meta[name]:
            raise UserError(f"{key} holds latents {what}: encode them into another folder, by make encode out=FOLDER")


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _blocks(meta: dict[str, Any]) -> int:
    return -(-meta["count"] // ROWS)


def _mapped(folder: Path, meta: dict[str, Any], mode: Any) -> np.memmap:
    return np.memmap(folder / FILE, np.float16, mode, shape=(meta["count"], *meta["shape"]))
