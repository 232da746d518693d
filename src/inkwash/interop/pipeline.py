"""Export a run as a diffusers pipeline or as bare weights. Needs no diffusers.

A pipeline's folder holds unet/ (unet_config.py and unet_weights.py map it), scheduler/ (scheduler.py or
flow_scheduler.py) and model_index.json. Of a network with classes it also holds pipeline.py, which diffusers runs: its
own DDPMPipeline knows no classes.
"""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.interop import card
from inkwash.interop.dit_weights import dit_config, to_dit
from inkwash.interop.flow_scheduler import KIND as FLOW_SCHEDULER
from inkwash.interop.flow_scheduler import flow_config
from inkwash.interop.output import Options, new, save, whole
from inkwash.interop.pipeline_files import WEIGHTS
from inkwash.interop.scheduler import T, scheduler_config
from inkwash.interop.unet_config import unet2d_config
from inkwash.interop.unet_weights import TIME_TABLE, time_table, to_unet2d
from inkwash.nets.dit import DiT
from inkwash.nets.unet import UNet
from inkwash.process.schedules import FlowSchedule
from inkwash.run import Run, load_run

OLDEST_DIFFUSERS = "0.35.0"  # the version whose file format is written
# What the last class embedding stands for: by UNet.no_label, in the metadata of weights.
LAST_CLASS = {True: {"last_class": "no label"}, False: {"last_class": "a class"}}
CODE = Path(__file__).parent / "assets" / "pipeline.py"  # of the pipeline of a network with classes
CODE_CLASS = "ClassConditionalPipeline"

log = logging.getLogger(__name__)


def export_safetensors(
    run_directory: str | Path,
    out: str | Path,
    weights: str = "ema",
    checkpoint: str = "last.ckpt",
    options: Options = Options(),  # noqa: B008 - cannot be changed
) -> Path:
    """Write the network's weights under our own names to one file, with the configuration as JSON in its metadata."""
    run, out = load_run(run_directory, checkpoint, weights), new(out)
    metadata = {"config": json.dumps(run.config), "weights": weights, "step": str(run.step)}
    save(dict(run.denoiser.net.state_dict()), out, metadata)
    return out


def export_diffusers(
    run_directory: str | Path,
    out: str | Path,
    weights: str = "ema",
    checkpoint: str = "last.ckpt",
    options: Options = Options(),  # noqa: B008 - cannot be changed
) -> Path:
    """Write a folder that `DiffusionPipeline.from_pretrained` loads: DDPMPipeline, or with classes one of our own.

    The label num_classes means "no label".

    Raises:
        UserError: the run has something that diffusers cannot express; the sentence names the key.
    """
    run, out = load_run(run_directory, checkpoint, weights), new(out)
    net: Any = run.denoiser.net
    about = card.About(run, Path(run_directory), "diffusers", weights, checkpoint)
    if isinstance(net, DiT):
        return _export_dit(replace(about, format="transformer"), out, options)
    if not isinstance(net, UNet):
        raise UserError(f"model: {type(net).__name__} has no counterpart in diffusers' DDPM: use format=safetensors")
    kind, scheduler = _scheduler(run)
    schedule: Any = run.denoiser.schedule
    times = int(schedule.t_max) if schedule.t_max != T and getattr(schedule, "stretch_time", False) else None
    unet = unet2d_config(times, **{key: value for key, value in run.config["model"].items() if key != "_target_"})
    state = to_unet2d(net, net.state_dict())
    if times is not None:
        state[TIME_TABLE] = time_table(net, schedule)
    labels = {} if run.num_classes is None else LAST_CLASS[net.no_label]
    with whole(out) as folder:
        save(state, folder / "unet" / f"{WEIGHTS}.safetensors", labels)
        _write_json(folder / "unet" / "config.json", "UNet2DModel", unet)
        _write_json(folder / "scheduler" / "scheduler_config.json", kind, scheduler)
        _write_index(folder, run, kind)
        card.write(folder, about, options)
    return out


def _export_dit(about: card.About, out: Path, options: Options) -> Path:
    """Write the folders transformer/ and scheduler/ of a DiT pipeline, which diffusers' own classes load one by one.

    Not the pipeline itself, which works on the latents of an autoencoder.
    """
    run = about.run
    net: Any = run.denoiser.net
    scheduler, schedule = scheduler_config(run.config, run.denoiser), run.denoiser.schedule
    if schedule.t_max != T and getattr(schedule, "stretch_time", False):
        raise UserError(
            f"schedule.betas.T={int(schedule.t_max)} stretches the network's time to 0..{T}, which "
            "DiTTransformer2DModel does not: use format=safetensors"
        )
    config = dit_config(**{key: value for key, value in run.config["model"].items() if key != "_target_"})
    with whole(out) as folder:
        save(to_dit(net, net.state_dict()), folder / "transformer" / f"{WEIGHTS}.safetensors", LAST_CLASS[True])
        _write_json(folder / "transformer" / "config.json", "DiTTransformer2DModel", config)
        _write_json(folder / "scheduler" / "scheduler_config.json", "DDPMScheduler", scheduler)
        card.write(folder, about, options)
    if net.freq_shift != 1:
        log.warning(
            "model.freq_shift=%d: diffusers takes 1 for every DiT, and its file cannot say otherwise; once loaded, set "
            "block.norm1.emb.time_proj.downscale_freq_shift=%d for block in transformer.transformer_blocks",
            net.freq_shift,
            net.freq_shift,
        )
    return out


def _scheduler(run: Run) -> tuple[str, dict[str, Any]]:
    """Return the class and the fields of the scheduler."""
    if isinstance(run.denoiser.schedule, FlowSchedule):
        return FLOW_SCHEDULER, flow_config(run.denoiser)
    return "DDPMScheduler", scheduler_config(run.config, run.denoiser)


def _write_index(folder: Path, run: Run, scheduler: str) -> None:
    """Write model_index.json and, of a network with classes, the pipeline's code."""
    parts: dict[str, Any] = {"scheduler": ["diffusers", scheduler], "unet": ["diffusers", "UNet2DModel"]}
    if run.num_classes is None:
        return _write_json(folder / "model_index.json", "DDPMPipeline", parts)
    shutil.copyfile(CODE, folder / CODE.name)
    parts["no_label"] = run.config["loss"].get("label_dropout", 0.1) > 0  # else there is nothing to guide away from
    return _write_json(folder / "model_index.json", [CODE.stem, CODE_CLASS], parts)


def _write_json(path: Path, kind: str | list[str], fields: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"_class_name": kind, "_diffusers_version": OLDEST_DIFFUSERS, **fields})
