"""Export a run as a diffusers DDPM pipeline or as bare weights, and import a pipeline as a run. Needs no diffusers.

A pipeline's folder holds unet/ (unet_config.py and unet_weights.py map it), scheduler/ (scheduler.py) and
model_index.json.
"""

import contextlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from inkwash.checkpoints.io import AtomicCheckpointIO
from inkwash.config.cli import compose
from inkwash.config.instantiate import build
from inkwash.config.validate import check_nodes
from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.interop.dit_weights import dit_config, to_dit
from inkwash.interop.pipeline_files import OF_SCHEDULER, OF_UNET, WEIGHTS, check_kinds, find, read_json, read_weights
from inkwash.interop.scheduler import T, listed_betas, overrides, scheduler_config
from inkwash.interop.unet_config import unet2d_config, unet_arguments
from inkwash.interop.unet_weights import TIME_TABLE, check_time_table, from_unet2d, time_table, to_unet2d
from inkwash.nets.dit import DiT
from inkwash.nets.unet import UNet
from inkwash.run import Run, load_run
from inkwash.runs.config_file import OF_THE_LAUNCH, config_hash
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import provenance
from inkwash.training.build import build_module
from inkwash.training.module import DiffusionModule

OLDEST_DIFFUSERS = "0.35.0"  # the version whose file format is written
# What the last class embedding stands for: by UNet.no_label, in the metadata of weights.
LAST_CLASS = {True: {"last_class": "no label"}, False: {"last_class": "a class"}}

log = logging.getLogger(__name__)

# --- Out --------------------------------------------------------------------------------------------------------------


def export_safetensors(
    run_directory: str | Path, out: str | Path, weights: str = "ema", checkpoint: str = "last.ckpt"
) -> Path:
    """Write the network's weights under our own names to one file, with the configuration as JSON in its metadata."""
    run, out = load_run(run_directory, checkpoint, weights), _new(out)
    metadata = {"config": json.dumps(run.config), "weights": weights, "step": str(run.step)}
    _save(dict(run.denoiser.net.state_dict()), out, metadata)
    return out


def export_diffusers(
    run_directory: str | Path, out: str | Path, weights: str = "ema", checkpoint: str = "last.ckpt"
) -> Path:
    """Write a folder that `DDPMPipeline.from_pretrained` loads.

    A network with classes must be called with `class_labels`, which the pipeline does not do; the label num_classes
    means "no label".

    Raises:
        UserError: the run has something that diffusers cannot express; the sentence names the key.
    """
    run, out = load_run(run_directory, checkpoint, weights), _new(out)
    net: Any = run.denoiser.net
    if isinstance(net, DiT):
        return _export_dit(run, out)
    if not isinstance(net, UNet):
        raise UserError(f"model: {type(net).__name__} has no counterpart in diffusers' DDPM: use format=safetensors")
    scheduler, schedule = scheduler_config(run.config, run.denoiser), run.denoiser.schedule
    times = int(schedule.t_max) if schedule.t_max != T and getattr(schedule, "stretch_time", False) else None
    unet = unet2d_config(times, **{key: value for key, value in run.config["model"].items() if key != "_target_"})
    state = to_unet2d(net, net.state_dict())
    if times is not None:
        state[TIME_TABLE] = time_table(net, schedule)
    labels = {} if run.num_classes is None else LAST_CLASS[net.no_label]
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    with _whole(out) as folder:
        _save(state, folder / "unet" / f"{WEIGHTS}.safetensors", labels)
        _write_json(folder / "unet" / "config.json", "UNet2DModel", unet)
        _write_json(folder / "scheduler" / "scheduler_config.json", "DDPMScheduler", scheduler)
        _write_json(folder / "model_index.json", "DDPMPipeline", parts)
    return out


def _export_dit(run: Run, out: Path) -> Path:
    """Write the folders transformer/ and scheduler/ of a DiT pipeline, which diffusers' own classes load one by one.

    Not the pipeline itself, which works on the latents of an autoencoder.
    """
    net: Any = run.denoiser.net
    scheduler, schedule = scheduler_config(run.config, run.denoiser), run.denoiser.schedule
    if schedule.t_max != T and getattr(schedule, "stretch_time", False):
        raise UserError(
            f"schedule.betas.T={int(schedule.t_max)} stretches the network's time to 0..{T}, which "
            "DiTTransformer2DModel does not: use format=safetensors"
        )
    config = dit_config(**{key: value for key, value in run.config["model"].items() if key != "_target_"})
    with _whole(out) as folder:
        _save(to_dit(net, net.state_dict()), folder / "transformer" / f"{WEIGHTS}.safetensors", LAST_CLASS[True])
        _write_json(folder / "transformer" / "config.json", "DiTTransformer2DModel", config)
        _write_json(folder / "scheduler" / "scheduler_config.json", "DDPMScheduler", scheduler)
    if net.freq_shift != 1:
        log.warning(
            "model.freq_shift=%d: diffusers takes 1 for every DiT, and its file cannot say otherwise; once loaded, set "
            "block.norm1.emb.time_proj.downscale_freq_shift=%d for block in transformer.transformer_blocks",
            net.freq_shift,
            net.freq_shift,
        )
    return out


def _new(out: str | Path) -> Path:
    if Path(out).exists():
        raise UserError(f"out={out} exists already: choose another name or delete it")
    return Path(out)


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which is renamed to `out` at the end, or deleted if the body fails."""
    partial = out.with_name(f".{out.name}-{os.getpid()}.partial")  # of this process alone
    try:
        yield partial
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _save(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file(state, partial, {"format": "pt", **metadata})
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error}): free some space, or choose another out=") from error
    os.replace(partial, path)


def _write_json(path: Path, kind: str, fields: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"_class_name": kind, "_diffusers_version": OLDEST_DIFFUSERS, **fields}
    write_json(path, content)


# --- In ---------------------------------------------------------------------------------------------------------------


def import_diffusers(folder: str | Path, run_directory: str | Path, num_classes: int | None = None) -> Path:
    """Make a run directory from the folder of a DDPM pipeline, at step 0; its averaged weights are its raw weights.

    Args:
        num_classes: only for a network with class embeddings that is not our own export: how many classes it has, one
            less than embeddings if the last of these stands for no label, else as many.

    Raises:
        UserError: the folder holds something that cannot be represented; the sentence names file and field.
    """
    folder, directory = Path(folder), Path(run_directory)
    if directory.exists():
        raise UserError(f"run={directory.name}: {directory} exists already: choose another name or delete it")
    unet_file = find(folder, "unet", "config.json")
    scheduler_file = find(folder, "scheduler", "scheduler_config.json")
    unet, scheduler = read_json(unet_file, "UNet2DModel"), read_json(scheduler_file, "DDPMScheduler")
    state, metadata = read_weights(unet_file.parent)
    with _blaming(unet_file):
        check_kinds(unet, OF_UNET)
        model = unet_arguments(unet)
        model |= _classes(model["num_classes"], num_classes, metadata)
        stretched = unet.get("time_embedding_type") == "learned"
    with _blaming(scheduler_file):
        check_kinds(scheduler, OF_SCHEDULER)
        config = _run_config(model, scheduler, stretched)
        build(config["schedule"])  # an error here is of the scheduler's file, one below is of the network's
    with _blaming(unet_file):
        module = build_module(config)
    nets: list[Any] = [module.denoiser.net, module.ema_denoiser.net]
    with _blaming(unet_file.parent):
        if stretched:
            check_time_table(state.pop(TIME_TABLE, None), nets[0], module.denoiser.schedule)
        weights = from_unet2d(nets[0], state)
    for net in nets:
        net.load_state_dict(weights)
    _write_run(RunDirectory(directory), module, folder)
    return directory


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Begin the message of a UserError with the file whose fields it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _classes(found: int | None, given: int | None, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the network's arguments num_classes, and no_label if it is False.

    Only a file of ours says whether the last class embedding stands for "no label".

    Args:
        found: one less than there are class embeddings; None for a network without.
        given: number of classes that the user gives, or None.

    Raises:
        UserError: the number of classes is not certain.
    """
    last = [no_label for no_label, said in LAST_CLASS.items() if metadata.items() >= said.items()]
    if found is None or (given is None and last):
        known = None if found is None else found + 1 - last[0]
    elif given is None:
        raise UserError(
            f"num_class_embeds={found + 1}: if the last one stands for no label, pass num_classes={found}; if it is a "
            f"class like the others, pass num_classes={found + 1}"
        )
    else:
        known = given
    if given not in (None, known) or (found is not None and known not in (found, found + 1)):
        raise UserError(
            f"num_classes={given} does not fit num_class_embeds={None if found is None else found + 1}: there must be "
            "as many embeddings as classes, or one more for no label"
        )
    return {"num_classes": known, **({"no_label": False} if found is not None and known == found + 1 else {})}


def _run_config(model: dict[str, Any], scheduler: dict[str, Any], stretch_time: bool) -> dict[str, Any]:
    """Return the default configuration with this network, path, prediction and sampler; the data are not known."""
    channels, height, width = model["shape"]
    data = ["data=folder", f"data.shape=[{channels},{height},{width}]", "model=unet_cifar10", "spacing.steps=null"]
    loss = ["loss=hybrid"] if model["learn_variance"] else []
    config = _compose([*data, *loss, *overrides(scheduler, model["learn_variance"], stretch_time)])
    config["model"].update(model)
    if not model.get("no_label", True):
        config["loss"]["label_dropout"] = 0.0  # there is no embedding for a hidden label
    config["data"]["num_classes"] = model["num_classes"]
    if node := listed_betas(scheduler):
        config["schedule"]["betas"] = node
    check_nodes(config)
    return config


def _compose(changes: list[str]) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose(*changes), resolve=True)
    return {key: value for key, value in plain.items() if key not in OF_THE_LAUNCH}


def _write_run(run: RunDirectory, module: DiffusionModule, folder: Path) -> None:
    """Write the files of a run directory that sampling and training read."""
    checkpoint = {
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "state_dict": module.state_dict(),
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, run.checkpoints.last)
    run.write_config(module.config)
    record = {
        "id": uuid.uuid4().hex[:8],
        "overrides": [],
        "sweep": None,
        "resume": "auto",
        "config_hash": config_hash(module.config),
        "imported": str(folder),
        **provenance(),
    }
    run.write_record(record)
    run.write_status("finished")
