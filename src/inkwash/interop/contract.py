"""Describe the inputs and outputs of exported files, for their metadata and a table in README.md."""

import inspect
import json

import torch

from inkwash.interop.latents import latents_of
from inkwash.run import Run
from inkwash.runs.provenance import version
from inkwash.samplers.base import Sampler

PIXELS = "about -1 (black) to 1 (white): clip(round(127.5 x + 127.5), 0, 255) are its levels"
LATENTS = "normalised latents, which the autoencoder decodes as latents * latents_std + latents_mean"


def network_contract(run: Run, batch: int | None) -> dict[str, str]:
    """Return the meaning of a network's inputs and output by their names, and facts of the path and the latents."""
    schedule, prediction = run.denoiser.schedule, run.denoiser.prediction
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    low, high = schedule.time_input(ends).tolist()
    scale = schedule.input_scale(ends)
    scaled = "" if bool((scale == 1).all()) else ", times the path's input scale, 1 / sqrt(sigma^2 + sigma_data^2)"
    images = f"float32 ({_n(batch)}, {_sides(run)})"
    what = (inspect.getdoc(prediction) or f"y, prediction={prediction.name}").splitlines()[0]
    head = ", then as many channels for the learned variance" if run.config["model"].get("learn_variance") else ""
    seen = "pixels x_0 from -1 to 1" if latents_of(run) is None else "normalised latents x_0"
    return {
        "x": f"{images}: x_t = alpha x_0 + sigma eps, {seen}{scaled}",
        "time": f"float32 ({_n(batch)}): {low:g} (least noise) to {high:g} (most)",
        **_labels(run, "y", batch),
        "output": f"{images}: {what}{head}",
        "result": "output",
        "schedule": json.dumps(run.config["schedule"]),
        **_origin(run),
    }


def sampler_contract(run: Run, sampler: Sampler, noises: int, guidance: float, batch: int | None) -> dict[str, str]:
    """Return the meaning of a whole sampler's inputs and output by their names, and its settings."""
    images = f"float32 ({_n(batch)}, {_sides(run)})"
    result = {"images": f"{images}: {PIXELS}", "result": "images"}
    if latents_of(run) is not None:
        result = {"latents": f"{images}: {LATENTS}", "result": "latents"}
    fresh = {"noises": f"float32 ({noises}, {_n(batch)}, {_sides(run)}): standard normal, fresh noise of the steps"}
    return {
        "noise": f"{images}: standard normal",
        **_labels(run, "labels", batch),
        **(fresh if noises else {}),
        **result,
        "sampler": type(sampler).__name__,
        "steps": str(len(sampler.spacing(run.denoiser.schedule)) - 1),
        "guidance": f"{guidance:g}",
        **_origin(run),
    }


def _labels(run: Run, name: str, batch: int | None) -> dict[str, str]:
    if run.num_classes is None:
        return {}
    none = ", -1 for no label" if getattr(run.denoiser.net, "no_label", True) else ""
    return {name: f"int64 ({_n(batch)}): class, 0 to {run.num_classes - 1}{none}"}


def _origin(run: Run) -> dict[str, str]:
    latents = latents_of(run)
    origin = {"step": str(run.step), "exported_by": f"Inkwash {version() or ''}".strip()}
    return origin if latents is None else latents.contract() | origin


def _n(batch: int | None) -> str:
    return "n" if batch is None else str(batch)


def _sides(run: Run) -> str:
    return ", ".join(map(str, run.network_shape))
