"""Read the fields and weights of a diffusers pipeline's folder, and check their types."""

import ast
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from inkwash.checkpoints.io import read_plain
from inkwash.config.annotations import described, fits
from inkwash.errors import UserError

WEIGHTS = "diffusion_pytorch_model"
# Types of fields, as annotations. Fields that are not listed have one allowed value (unet_config.py, scheduler.py).
OF_UNET = {
    "sample_size": "int | tuple[int, int] | None",
    "in_channels": "int",
    "out_channels": "int",
    "down_block_types": "list[str]",
    "up_block_types": "list[str]",
    "block_out_channels": "list[int]",
    "layers_per_block": "int",
    "downsample_padding": "int",
    "dropout": "float",
    "attention_head_dim": "int | None",
    "norm_num_groups": "int",
    "attn_norm_num_groups": "int | None",
    "norm_eps": "float",
    "freq_shift": "int",
    "flip_sin_to_cos": "bool",
    "resnet_time_scale_shift": "str",
    "add_attention": "bool",
    "time_embedding_type": "str",
    "num_train_timesteps": "int | None",
    "num_class_embeds": "int | None",
}
OF_SCHEDULER = {
    "num_train_timesteps": "int",
    "beta_schedule": "str",
    "beta_start": "float",
    "beta_end": "float",
    "trained_betas": "list[float] | None",
    "rescale_betas_zero_snr": "bool",
    "clip_sample": "bool",
    "clip_sample_range": "float",
    "thresholding": "bool",
    "dynamic_thresholding_ratio": "float",
    "sample_max_value": "float",
}
SIZES = (
    *("sample_size", "in_channels", "out_channels", "block_out_channels", "layers_per_block"),
    *("attention_head_dim", "norm_num_groups", "attn_norm_num_groups", "num_train_timesteps"),
)


def find(folder: Path, part: str, name: str) -> Path:
    """Find the file of a part of the pipeline; some published folders have no subfolders."""
    for path in (folder / part / name, folder / name):
        if path.is_file():
            return path
    raise UserError(f"folder={folder} is not a diffusers pipeline: it has no {part}/{name}")


def read_json(path: Path, *kinds: str) -> dict[str, Any]:
    """Read the fields of a JSON file. Raises UserError if it is damaged or of another class than `kinds`."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON ({error}): download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no fields: download it again")
    if content.get("_class_name") not in kinds:
        named = content.get("_class_name")
        raise UserError(f"{path}: _class_name={named} cannot be represented, only {' or '.join(kinds)}")
    return content


def read_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the weights by name, and the metadata of their file."""
    path, pickled = folder / f"{WEIGHTS}.safetensors", folder / f"{WEIGHTS}.bin"
    if pickled.is_file() and not path.is_file():
        return _checked_weights(read_plain(pickled), pickled), {}
    if not path.is_file():
        raise UserError(f"{folder} has no weights: {path.name} is missing")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}): download it again") from error


def _checked_weights(found: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(found, dict):
        wrong = [name for name, value in found.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
        if not wrong:
            return found
        raise UserError(f"{path}: {wrong[0]} is not a tensor: download it again")
    raise UserError(f"{path} holds no weights by their names: download it again")


def check_kinds(fields: dict[str, Any], kinds: dict[str, str]) -> None:
    """Raise UserError for a field whose value is of another type than its annotation in `kinds`."""
    for key, kind in kinds.items():
        annotation, value = ast.parse(kind, mode="eval").body, fields.get(key)
        if key in fields and not fits(annotation, value):
            raise UserError(f"{key}={json.dumps(value)[:60]} must be {described(annotation)}: download it again")
        sizes = value if isinstance(value, list) else [value]
        if key in SIZES and (not sizes or any(isinstance(size, int) and size < 1 for size in sizes)):
            raise UserError(f"{key}={json.dumps(value)[:60]} must be at least 1: download it again")
