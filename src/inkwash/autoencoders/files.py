"""Find an autoencoder's files and the shape of its latents, without torch: for the command's own process."""

import functools
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.files import filling, read_json
from inkwash.runs.directory import RUNS, RunDirectory

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
FOLDERS = ("", "autoencoder", "vae")  # of a folder of its own, of a run of experiment=autoencoder, of a pipeline
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def find_files(path: str) -> Path:
    """Return the folder of config.json and weights of an autoencoder of diffusers.

    Args:
        path: that folder, a run of experiment=autoencoder or its name below runs/, a pipeline of diffusers, or a name
            on the Hugging Face hub, which is downloaded once.

    Raises:
        UserError: there is none.
    """
    places = [Path(path).expanduser(), RUNS / path]
    if (folder := _within(places)) is not None:
        return folder
    if any(place.exists() for place in places):
        raise UserError(
            f"autoencoder.path={path} holds no autoencoder, which has {CONFIG} and {WEIGHTS}: give its folder, or a "
            "run of experiment=autoencoder that has saved one"
        )
    if not HUB_NAME.fullmatch(path):
        raise UserError(
            f"autoencoder.path={path} does not exist: give the folder of an autoencoder, a run of "
            "experiment=autoencoder, or a name on the Hugging Face hub, USER/NAME"
        )
    if (folder := _within([_downloaded(path)])) is None:
        raise UserError(f"autoencoder.path={path}: that repository of the Hugging Face hub holds no autoencoder")
    return folder


def keep(path: str, folder: Path) -> None:
    """Put the files of an autoencoder into a folder, so that a run has all.

    Links files that are never written over, which takes no room: those of the hub's cache, and those of runs, which
    replace a file by a new one. Copies all others, because writing to a linked file changes it under both names.

    Args:
        path: see find_files; what is in the folder already stays.
    """
    if (folder / CONFIG).is_file():
        return
    source = find_files(path)
    shutil.rmtree(folder, ignore_errors=True)
    with filling(folder) as partial:
        for name in (CONFIG, WEIGHTS):
            file = (source / name).resolve()
            if not (_is_lasting(source, file) and _linked(file, partial / name)):
                shutil.copyfile(file, partial / name)


def _is_lasting(source: Path, file: Path) -> bool:
    """Tell whether a file of an autoencoder's folder is replaced, if ever, and not written over."""
    run = RunDirectory(source.parent)
    of_a_run = source.name == run.autoencoder.name and run.config_path.is_file()
    # The hub's cache has links to files whose names are hashes of their contents.
    return of_a_run or (file.parent.name == "blobs" and file.parent != source.resolve())


def _linked(file: Path, name: Path) -> bool:
    """Give a file another name, and tell whether the disk allows it."""
    try:
        os.link(file, name)
    except OSError:
        return False
    return True


def _within(places: Sequence[Path]) -> Path | None:
    folders = (place / name for place in places for name in FOLDERS)
    return next((folder for folder in folders if _kind(folder).startswith("Autoencoder")), None)


def _kind(folder: Path) -> str:
    """Return the class that config.json names, "" if there is no such file or class."""
    return str(read_json(folder / CONFIG).get("_class_name", "")) if (folder / CONFIG).is_file() else ""


@functools.cache
def _downloaded(name: str) -> Path:
    """Download an autoencoder from the hub, whose cache keeps it."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise UserError(
            f"autoencoder.path={name} is no folder here, and a name on the Hugging Face hub needs the package "
            "huggingface_hub: pip install 'inkwash[latents]'"
        ) from error
    patterns = [f"{folder}{name}" for folder in ("", "vae/") for name in (CONFIG, WEIGHTS)]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"autoencoder.path={name} is no folder here, and the Hugging Face hub cannot be reached: give a folder, or "
            "download it where there is a network"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"autoencoder.path={name} cannot be downloaded from the Hugging Face hub: {reason}") from error


# --- Shapes -----------------------------------------------------------------------------------------------------------


def shape_of_latents(path: str, image_shape: Sequence[int]) -> list[int]:
    """Return the shape [c, h, w] of latents of images (C, H, W), by the config.json of an autoencoder of diffusers.

    Raises:
        UserError: there is no such autoencoder, or its factor does not divide height and width.
    """
    config = read_json(find_files(path) / CONFIG)
    blocks, channels = config.get("block_out_channels"), config.get("latent_channels")
    if not isinstance(blocks, list) or not isinstance(channels, int):
        raise UserError(f"autoencoder.path={path}: its {CONFIG} has no block_out_channels or latent_channels")
    factor = 2 ** (len(blocks) - 1)
    _, height, width = image_shape
    if height % factor or width % factor:
        raise UserError(
            f"data.shape={list(image_shape)}: autoencoder.path={path} makes images {factor} times smaller, so height "
            f"and width must be multiples of {factor}"
        )
    return [channels, height // factor, width // factor]


def resolve_latent_shape(path: str, image_shape: Any) -> Any:
    """Resolve ${latent_shape:PATH,SHAPE}; what is no shape yet, but `auto`, stays as it is."""
    return image_shape if isinstance(image_shape, str | int) else shape_of_latents(path, list(image_shape))
