"""The formats of `inkwash export`, by name."""

from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.interop.output import Options, is_export_of
from inkwash.interop.pipeline import export_diffusers, export_safetensors
from inkwash.interop.programs import export_onnx, export_torch
from inkwash.runs.directory import RunDirectory

__all__ = ["FORMATS", "export", "is_export_of"]

FORMATS = {
    "diffusers": export_diffusers,
    "safetensors": export_safetensors,
    "onnx": export_onnx,
    "torch_export": export_torch,
}


def export(format: str, run_directory: Path, out: str, weights: str, checkpoint: str, record: dict[str, Any]) -> Path:
    """Write `out` in a format; its settings are in the record. Raises UserError if there is no such format."""
    if format not in FORMATS:
        raise UserError(f"format={format} must be {', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}")
    if format != "safetensors" and RunDirectory(run_directory).config.get("autoencoder") is not None:
        raise UserError(
            f"format={format} holds a network that draws images, and run={run_directory} draws latents: use "
            "format=safetensors, which holds the network's weights alone"
        )
    names = ("license", "repo", "sampler", "guidance", "batch")
    options = Options(record=record, **{name: record[name] for name in names})
    return FORMATS[format](run_directory, out, weights, checkpoint, options)
