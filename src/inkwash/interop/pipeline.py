"""Export a run as a diffusers pipeline or as bare weights. Needs no diffusers.

A pipeline's folder holds unet/ (unet_config.py and unet_weights.py map it), scheduler/ (scheduler.py or
flow_scheduler.py) and model_index.json. Of a network with classes it also holds pipeline.py, which diffusers runs: its
own DDPMPipeline knows no classes. A DiT is in transformer/, without a pipeline. A network on latents, U-Net or DiT, has
one with its autoencoder in vae/ (latents.py).
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.interop import card
from inkwash.interop.dit_weights import dit_config, to_dit
from inkwash.interop.flow_scheduler import KIND as FLOW_SCHEDULER
from inkwash.interop.flow_scheduler import flow_config
from inkwash.interop.latents import CODE_CLASS as LATENT_CLASS
from inkwash.interop.latents import Latents, latents_of, write_parts
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
    if (latents := latents_of(run)) is not None:
        metadata["latents"] = latents.plain()
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

    Of a DiT on pixels only transformer/ and scheduler/, which diffusers' own classes load one by one. The label
    num_classes means "no label".

    Raises:
        UserError: the run has something that diffusers cannot express; the sentence names the key.
    """
    run, out = load_run(run_directory, checkpoint, weights), new(out)
    latents, network = latents_of(run), _network(run)
    kind, scheduler = _scheduler(run, network.folder == "transformer" and latents is None)
    whole_pipeline = network.folder == "unet" or latents is not None
    about = card.About(run, Path(run_directory), "diffusers" if whole_pipeline else "transformer", weights, checkpoint)
    with whole(out) as folder:
        save(network.state, folder / network.folder / f"{WEIGHTS}.safetensors", network.labels)
        _write_json(folder / network.folder / "config.json", network.kind, network.config)
        _write_json(folder / "scheduler" / "scheduler_config.json", kind, scheduler)
        if whole_pipeline:
            parts: dict[str, Any] = {"scheduler": ["diffusers", kind], network.folder: ["diffusers", network.kind]}
            _write_index(folder, run, parts, latents)
        card.write(folder, about, options)
    if not whole_pipeline:
        _warn_of_sinusoids(run)
    return out


class _Network(NamedTuple):
    """A network as diffusers reads it: folder, class, fields of config.json, weights and their metadata."""

    folder: str
    kind: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    labels: dict[str, str]


def _network(run: Run) -> _Network:
    """Map a U-Net or a DiT. Raises UserError if diffusers cannot express it; the sentence names the key."""
    net: Any = run.denoiser.net
    schedule: Any = run.denoiser.schedule
    arguments = {key: value for key, value in run.config["model"].items() if key != "_target_"}
    times = int(schedule.t_max) if schedule.t_max != T and getattr(schedule, "stretch_time", False) else None
    if isinstance(net, DiT):
        if times is not None:
            raise UserError(
                f"schedule.betas.T={times} stretches the network's time to 0..{T}, which DiTTransformer2DModel does "
                "not: use format=safetensors"
            )
        config, state = dit_config(**arguments), to_dit(net, net.state_dict())
        return _Network("transformer", "DiTTransformer2DModel", config, state, LAST_CLASS[True])
    if not isinstance(net, UNet):
        raise UserError(f"model: {type(net).__name__} has no counterpart in diffusers' DDPM: use format=safetensors")
    config, state = unet2d_config(times, **arguments), to_unet2d(net, net.state_dict())
    if times is not None:
        state[TIME_TABLE] = time_table(net, schedule)
    return _Network("unet", "UNet2DModel", config, state, {} if run.num_classes is None else LAST_CLASS[net.no_label])


def _warn_of_sinusoids(run: Run) -> None:
    net: Any = run.denoiser.net
    if net.freq_shift != 1:
        log.warning(
            "model.freq_shift=%d: diffusers takes 1 for every DiT, and its file cannot say otherwise; once loaded, set "
            "block.norm1.emb.time_proj.downscale_freq_shift=%d for block in transformer.transformer_blocks",
            net.freq_shift,
            net.freq_shift,
        )


def _scheduler(run: Run, chain: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the class and the fields of the scheduler; of `chain`, only DDPMScheduler."""
    if not chain and isinstance(run.denoiser.schedule, FlowSchedule):
        return FLOW_SCHEDULER, flow_config(run.denoiser)
    return "DDPMScheduler", scheduler_config(run.config, run.denoiser)


def _write_index(folder: Path, run: Run, parts: dict[str, Any], latents: Latents | None) -> None:
    """Write model_index.json and, of a network with classes or on latents, the pipeline's code."""
    if latents is None and run.num_classes is None:
        return _write_json(folder / "model_index.json", "DDPMPipeline", parts)
    # Else there is nothing to guide away from.
    no_label = run.num_classes is not None and run.config["loss"].get("label_dropout", 0.1) > 0
    if latents is not None:
        parts, kind = {**parts, **write_parts(folder, run, latents)}, LATENT_CLASS
    else:
        shutil.copyfile(CODE, folder / CODE.name)
        kind = CODE_CLASS
    return _write_json(folder / "model_index.json", [CODE.stem, kind], {**parts, "no_label": no_label})


def _write_json(path: Path, kind: str | list[str], fields: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"_class_name": kind, "_diffusers_version": OLDEST_DIFFUSERS, **fields})
