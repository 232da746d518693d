"""The formats of `inkwash export`, by name; what writes them, which imports torch, is imported when it does."""

from importlib import import_module
from pathlib import Path
from typing import Any

from inkwash.config.class_attributes import class_attribute
from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory

# The functions, as module:name in this package.
FORMATS = {
    "diffusers": "pipeline:export_diffusers",
    "safetensors": "pipeline:export_safetensors",
    "onnx": "programs:export_onnx",
    "torch_export": "programs:export_torch",
}
# All that they write into a folder: what push= sends, whatever else its owner has put there.
FILES = (
    "README.md", "samples.png", "inkwash.json", "model_index.json", "pipeline.py", "scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in ("unet", "transformer", "vae")),
    *(f"{part}/diffusion_pytorch_model*" for part in ("unet", "transformer", "vae")),
    *(f"{part}{end}" for part in ("network", "sampler") for end in (".onnx", ".onnx.data", ".pt2")),
)  # fmt: skip


def check(format: str, run: RunDirectory) -> None:
    """Raise UserError if there is no such format, or the run is an autoencoder, which is in diffusers' already."""
    if format not in FORMATS:
        raise UserError(f"format={format} must be {', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}")
    if format != "safetensors" and class_attribute(run.config["model"]["_target_"], "reconstructs"):
        raise UserError(
            f"run={run} is an autoencoder, which draws nothing: {run.autoencoder} is in the format of diffusers already"
        )


def is_export_of(out: Path, record: dict[str, Any]) -> bool:
    """Tell whether `out` is a folder that was exported with just this record."""
    from inkwash.interop import output

    return output.is_export_of(out, record)


def export(format: str, run_directory: Path, out: str, weights: str, checkpoint: str, record: dict[str, Any]) -> Path:
    """Write `out` in a format; its settings are in the record. Raises UserError: see `check`."""
    check(format, RunDirectory(run_directory))
    from inkwash.interop.output import Options

    names = ("license", "repo", "sampler", "guidance", "batch")
    options = Options(record=record, **{name: record[name] for name in names})
    module, _, name = FORMATS[format].partition(":")
    return getattr(import_module(f"inkwash.interop.{module}"), name)(run_directory, out, weights, checkpoint, options)
