"""Load a trained denoiser from a run directory, a W&B artifact or the Hugging Face hub: the public `load_run`."""

import warnings
from pathlib import Path
from typing import Any

from inkwash.autoencoders import sameness
from inkwash.checkpoints.hub import snapshot
from inkwash.checkpoints.io import read_checkpoint
from inkwash.checkpoints.posthoc import reconstruct
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.runs.averages import length_in
from inkwash.runs.directory import RUNS, RunDirectory
from inkwash.runs.overview import is_run
from inkwash.tracking.wandb_artifact import download
from inkwash.trained_run import Run
from inkwash.training.build import build_autoencoder, build_denoiser
from inkwash.training.callbacks.latents import restore
from inkwash.training.compute_mode import ComputeMode

__all__ = ["Run", "find_run", "load_denoiser", "load_run"]


def find_run(name: str | Path) -> RunDirectory:
    """Find a run by its directory, its name below runs/, `latest`, or a place on the network.

    wandb:ENTITY/PROJECT/ARTIFACT:ALIAS is an artifact of a run's checkpoint, hf:USER/NAME a repository on the Hugging
    Face hub that holds a run directory; both are downloaded once.

    Raises:
        UserError: there is none, it cannot be reached, or the package that reaches it is not installed.
    """
    text = str(name)
    for scheme, fetch in (("wandb:", download), ("hf:", snapshot)):
        if text.startswith(scheme):
            return RunDirectory(fetch(text.removeprefix(scheme)))
    for path in (Path(name), RUNS / name):
        if is_run(path):
            return RunDirectory(path)
    raise UserError(
        f"run={name} is not a run directory: neither {name} nor {RUNS / name} holds one (make runs lists them)"
    )


def load_run(directory: str | Path, checkpoint: str = "last.ckpt", weights: str = "ema") -> Run:
    """Load a run, to draw images with it.

    >>> images = inkwash.load_run("latest").sample(16)

    Args:
        directory: its directory, which may have been moved, its name below runs/, `latest`, an artifact
            `wandb:entity/project/name:alias`, or `hf:user/name` on the Hugging Face hub.
        checkpoint: a file of its checkpoints/ folder: last.ckpt, best.ckpt or step-00000500.ckpt.
        weights: ema, raw, the name of one of the run's further averages, or posthoc_LENGTH (runs/averages.py).

    Raises:
        UserError: it is not a run directory, or the checkpoint does not fit its config.yaml.
    """
    run = find_run(directory)
    path = run.checkpoints.path / checkpoint
    if not run.config_path.is_file():
        raise UserError(f"run={run} is not a run directory: it has no config.yaml (make train prints the directory)")
    if not path.is_file():
        names = sorted(file.name for file in path.parent.glob("*.ckpt"))
        raise UserError(f"{path} does not exist; {run} has {', '.join(names) or 'no checkpoint yet'}")
    config = run.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schedules, which the training has said
        denoiser = build_denoiser(config)
    stored = read_checkpoint(path)
    prefixes = {"ema": "ema_denoiser.", "raw": "denoiser."}
    prefixes |= {name: f"averages.{name}." for name in config.get("averages") or {}}
    length = length_in(weights)
    if length is None and weights not in prefixes:
        raise UserError(f"weights={weights}: this run has {', '.join(prefixes)}")
    prefix = prefixes["ema" if length is not None else weights]  # whose buffers an average of any length takes
    state = {key.removeprefix(prefix): value for key, value in stored["state_dict"].items() if key.startswith(prefix)}
    step = stored["global_step"]
    if length is not None:
        made, step = reconstruct(run.snapshots, length, step)
        state |= made
    try:
        denoiser.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} is a checkpoint of another model than {run.config_path} describes") from error
    denoiser = denoiser.eval().requires_grad_(False)
    autoencoder = build_autoencoder(config, run.autoencoder)
    if autoencoder is not None:
        restore(autoencoder, stored, f"put the files that it was trained with into {run.autoencoder}, from a copy")
    mode = ComputeMode.stored(stored.get("compute"))
    return Run(
        config, denoiser, step, stored.get("images"), _micro_batch(config, stored), mode, run,
        f"{weights} weights of {checkpoint}", autoencoder=autoencoder,
    )  # fmt: skip


def _micro_batch(config: dict[str, Any], stored: dict[str, Any]) -> int:
    """Return how many images each process of the training of a checkpoint took at a time."""
    layout, parts = stored.get("layout") or {}, config["trainer"]["accumulate_grad_batches"]
    parts = layout.get("micro_batches") or (parts if isinstance(parts, int) else 1)
    return max(1, config["data"]["batch_size"] // (layout.get("processes", 1) * parts))


def load_denoiser(run: str, checkpoint: str, weights: str, like: str) -> Denoiser:
    """Return the denoiser of a run, given by its directory or name, to use beside that of the run `like`.

    Raises:
        UserError: its images have another shape, its latents mean something else, or it was trained with other classes.
    """
    loaded, beside = load_run(RunDirectory.find(run).path, checkpoint, weights), RunDirectory.find(like)
    other = beside.config
    if list(loaded.shape) != other["data"]["shape"]:
        raise UserError(f"run={run} draws images of shape {list(loaded.shape)}, run={like} of {other['data']['shape']}")
    if not _same_latents(loaded, other, beside):
        raise UserError(f"run={run} and run={like} draw latents of different autoencoders: take two of the same")
    classes = other["model"].get("num_classes")
    if classes is not None and loaded.num_classes not in (None, classes):
        raise UserError(f"run={run} was trained with {loaded.num_classes} classes, run={like} with {classes}")
    return loaded.denoiser


def _same_latents(loaded: Run, config: dict[str, Any], run: RunDirectory) -> bool:
    """Tell whether a loaded run draws the same latents as another, of this configuration: or both draw pixels."""
    if loaded.autoencoder is None or sameness.sees_pixels(config):
        return not sameness.differences(loaded.config, config, (None, None))
    newest = run.checkpoints.newest_first()
    latents = (read_checkpoint(newest[0]).get("latents") if newest else None) or {}
    weights = (loaded.autoencoder.fingerprint, latents.get("autoencoder"))
    if sameness.differences(loaded.config, config, weights):
        return False
    return not latents or sameness.normalised_alike(loaded.autoencoder.normalisation(), latents)
