"""Import a diffusers pipeline as a run. Needs no diffusers."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
from omegaconf import OmegaConf

from inkwash.checkpoints.io import AtomicCheckpointIO
from inkwash.config.cli import compose
from inkwash.config.instantiate import build
from inkwash.config.validate import check_nodes
from inkwash.errors import UserError
from inkwash.interop.flow_scheduler import KIND as FLOW_SCHEDULER
from inkwash.interop.flow_scheduler import flow_overrides
from inkwash.interop.pipeline import LAST_CLASS
from inkwash.interop.pipeline_files import OF_SCHEDULER, OF_UNET, check_kinds, find, read_json, read_weights
from inkwash.interop.scheduler import listed_betas, overrides
from inkwash.interop.unet_config import unet_arguments
from inkwash.interop.unet_weights import TIME_TABLE, check_time_table, from_unet2d
from inkwash.runs.config_file import OF_THE_LAUNCH, config_hash
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import provenance
from inkwash.training.build import build_module
from inkwash.training.module import DiffusionModule


def import_diffusers(folder: str | Path, run_directory: str | Path, num_classes: int | None = None) -> Path:
    """Make a run directory from the folder of a pipeline, at step 0; its averaged weights are its raw weights.

    The pipeline is diffusers' DDPMPipeline, or what `export_diffusers` writes.

    Args:
        num_classes: only for a network with class embeddings that is not our own export: how many classes it has, one
            less than embeddings if the last of these stands for no label, else as many.

    Raises:
        UserError: the folder holds something that cannot be represented; the sentence names file and field.
    """
    folder, directory = Path(folder), Path(run_directory)
    if directory.exists():
        raise UserError(f"run={directory.name}: {directory} exists already: choose another name or delete it")
    if parts := [part for part in ("vae", "vqvae") if (folder / part).is_dir()]:
        raise UserError(
            f"folder={folder} draws latents, which its {parts[0]}/ decodes: import takes pipelines that draw pixels; "
            f"train with autoencoder=kl autoencoder.path={folder} instead"
        )
    unet_file = find(folder, "unet", "config.json")
    scheduler_file = find(folder, "scheduler", "scheduler_config.json")
    unet = read_json(unet_file, "UNet2DModel")
    scheduler = read_json(scheduler_file, "DDPMScheduler", FLOW_SCHEDULER)
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
    data = ["data=folder", f"data.shape=[{channels},{height},{width}]", "model=unet_cifar10"]
    if scheduler["_class_name"] == FLOW_SCHEDULER:
        path = flow_overrides(scheduler)
    else:
        loss = ["loss=hybrid"] if model["learn_variance"] else []
        path = ["spacing.steps=null", *loss, *overrides(scheduler, model["learn_variance"], stretch_time)]
    config = _compose([*data, *path])
    config["model"].update(model)
    if not model.get("no_label", True):
        config["loss"]["label_dropout"] = 0.0  # there is no embedding for a hidden label
    config["data"]["num_classes"] = model["num_classes"]
    if "betas" in config["schedule"] and (node := listed_betas(scheduler)):
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
