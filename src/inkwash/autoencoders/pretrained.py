"""Autoencoders of diffusers: AutoencoderKL, which draws its latents, and AutoencoderTiny, which does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from inkwash.autoencoders.base import Autoencoder
from inkwash.autoencoders.files import CONFIG, WEIGHTS, find_files
from inkwash.errors import UserError
from inkwash.files import read_json


class Pretrained(Autoencoder):
    """Autoencoder of diffusers, with its weights.

    Args:
        path: see files.find_files.
        shape: (C, H, W) of the images.
        latent_shape, std, batch_size, cache: see Autoencoder.

    Raises:
        UserError: diffusers is missing, or the files are: no such folder, no weights, of another class, of other
            channels.
    """

    kind: str

    def __init__(
        self,
        path: str,
        shape: Sequence[int],
        latent_shape: Sequence[int],
        std: float = 1.0,
        batch_size: int = 32,
        cache: str | None = None,
    ):
        super().__init__(latent_shape, std, batch_size, cache)
        folder = find_files(path)
        self.place, self.model = str(folder), _load(self.kind, path, folder)
        for key in ("in_channels", "out_channels"):
            if (channels := self.model.config[key]) != shape[0]:
                raise UserError(
                    f"autoencoder.path={path} is for images of {channels} channels, but data.shape={list(shape)}: give "
                    f"another autoencoder, or data.shape=[{channels},{shape[1]},{shape[2]}]"
                )
        self.eval().requires_grad_(False)


class KL(Pretrained):
    """Variational autoencoder (Rombach et al. 2022), diffusers' AutoencoderKL: Stable Diffusion's for example."""

    kind = "AutoencoderKL"
    draws = True

    def moments(self, x: Tensor) -> Tensor:
        return self.model.encode(x).latent_dist.parameters

    def images(self, z: Tensor) -> Tensor:
        return self.model.decode(z).sample


class Tiny(Pretrained):
    """Small, quick autoencoder for the latents of a large one (TAESD), diffusers' AutoencoderTiny."""

    kind = "AutoencoderTiny"

    def moments(self, x: Tensor) -> Tensor:
        return self.model.encode(x).latents

    def images(self, z: Tensor) -> Tensor:
        return self.model.decode(z).sample


def _load(kind: str, path: str, folder: Path) -> Any:
    """Return the model of a folder. Raises UserError if there is none, or one of another class."""
    if (found := read_json(folder / CONFIG)["_class_name"]) != kind:
        other = {"AutoencoderKL": "kl", "AutoencoderTiny": "tiny"}.get(found)
        advice = f"use autoencoder={other}" if other else "there is none for it: write one of your own"
        raise UserError(f"autoencoder.path={path} holds {found}, not {kind}: {advice}")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"autoencoder.path={path}: {folder / WEIGHTS} is missing: restore it, or download it again")
    try:
        import diffusers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("autoencoder= needs the package diffusers: pip install 'inkwash[latents]'") from error
    options: Any = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
    try:
        model, info = getattr(diffusers, kind).from_pretrained(folder, output_loading_info=True, **options)
    except Exception as error:  # diffusers documents no errors
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"autoencoder.path={path} cannot be loaded by diffusers: {reason}") from error
    if lost := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise UserError(f"autoencoder.path={path}: {folder / WEIGHTS} lacks {lost[0]}: download it again")
    return model
