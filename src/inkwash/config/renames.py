"""Names of classes and configuration keys in older versions, with the names of today.

A `_target_` names the module that defines a class, so moving a class changes what config.yaml of an older run means.
The table is applied where a stored configuration is read: config.yaml (runs/config_file.py), the configuration inside a
checkpoint (checkpoints/io.py), and a run's config.yaml that is trained again (commands/train.py). Old names on a
command line or in a user's own YAML are errors that give today's: `refuse_old_key` for keys, signatures.py for targets.
"""

from typing import Any

from inkwash.errors import UserError

# Whole modules, and single names of a module that was divided.
TARGETS = {
    "inkwash.loss": "inkwash.losses.distances",  # L1, L2, Huber, PseudoHuber
    "inkwash.loss.Loss": "inkwash.losses.base.Loss",
    "inkwash.loss.DiffusionLoss": "inkwash.losses.simple.DiffusionLoss",
    "inkwash.loss.VLBLoss": "inkwash.losses.vlb.VLBLoss",
    "inkwash.loss.HybridLoss": "inkwash.losses.vlb.HybridLoss",
    "inkwash.metrics.bootstrap": "inkwash.metrics.frechet_interval",
    "inkwash.metrics.extrapolation": "inkwash.metrics.frechet_infinity",
    "inkwash.metrics.reweighted": "inkwash.metrics.frechet_reweighted",
    "inkwash.metrics.classifier": "inkwash.metrics.extractors.classifier",
    "inkwash.metrics.clip": "inkwash.metrics.extractors.clip",
    "inkwash.metrics.dinov2": "inkwash.metrics.extractors.dinov2",
    "inkwash.metrics.features": "inkwash.metrics.extractors.inception",
    "inkwash.metrics.pixels": "inkwash.metrics.extractors.pixels",
    "inkwash.training.callbacks.guard": "inkwash.training.callbacks.finite_loss",
    "inkwash.training.callbacks.idle": "inkwash.training.callbacks.unused_parameters",
    "inkwash.training.callbacks.noise_levels": "inkwash.training.callbacks.loss_by_snr",
    "inkwash.training.callbacks.signals": "inkwash.training.callbacks.stop_on_signal",
    "inkwash.training.job_tracking": "inkwash.tracking.wandb_jobs",
    "inkwash.training.memory": "inkwash.training.micro_batches",
    "inkwash.training.muon": "inkwash.muon",
    "inkwash.training.metrics_csv": "inkwash.tracking.csv_logger",
    "inkwash.training.sharding": "inkwash.training.fsdp",
    "inkwash.training.tracking": "inkwash.tracking.wandb_logger",
}
# Keys of the configuration.
KEYS = {"callbacks.fid": "callbacks.evaluation"}
# Former defaults and today's, which do what the former ones did: a resume does not report them as changed.
DEFAULTS = {
    "trainer.num_nodes": (1, "auto"),
    "logger.wandb.project": ("inkwash", None),
    "logger.wandb.job_type": ("train", None),
    "logger.wandb.tags": ([], None),
    "loss.stages": (8, None),
}
# Arguments of classes that older versions did not have, with the values that mean what those versions did where these
# are not the class's defaults (runs/resume_check.py takes them).
BEFORE: dict[str, dict[str, Any]] = {
    "inkwash.data.folder.Folder": {"splits": "none", "stratified": False, "class_order": "alphabetical"},
    "inkwash.data.parquet.Parquet": {"splits": "none", "stratified": False},
    "inkwash.data.parquet_stream.ParquetStream": {"splits": "none", "stratified": False},
    "inkwash.data.webdataset.WebDataset": {"splits": "none", "stratified": False},
    "inkwash.muon.Muon": {"gram": False},
    "inkwash.training.callbacks.evaluation.Evaluation": {"labels": "balanced"},
    "inkwash.training.trainer.build_trainer": {"memory_format": "auto"},  # their checkpoints go on in their own
}


def todays_target(target: str) -> str:
    """Return the name under which a class or function is found today."""
    module, _, name = target.rpartition(".")
    return TARGETS.get(target) or f"{TARGETS.get(module, module)}.{name}"


def todays_override(override: str) -> str:
    """Return a stored override with the names of today, of its key and of a `_target_` that it sets."""
    key, equals, value = override.partition("=")
    for old, new in KEYS.items():
        sign, name = key[: len(key) - len(key.lstrip("+~"))], key.lstrip("+~")
        if name == old or name.startswith(f"{old}."):
            key = f"{sign}{new}{name[len(old) :]}"
    return f"{key}{equals}{todays_target(value) if key.endswith('._target_') else value}"


def refuse_old_key(override: str) -> None:
    """Raise UserError for a key of an older version in an override: `KEY`, `KEY=VALUE` or `~KEY`."""
    key = override.partition("=")[0].lstrip("+~")
    for old, new in KEYS.items():
        if key == old or key.startswith(f"{old}."):
            raise UserError(f"{old} is called {new} now: pass {override.replace(old, new, 1)}")


def refuse_old_keys(node: Any, key: str = "") -> None:
    """Raise UserError for a key of an older version in a configuration."""
    if isinstance(node, dict):
        for name, value in node.items():
            path = f"{key}.{name}".lstrip(".")
            if path in KEYS:
                raise UserError(f"{path} is called {KEYS[path]} now: rename it in your YAML file")
            refuse_old_keys(value, path)


def in_todays_names(config: dict[str, Any]) -> dict[str, Any]:
    """Copy a stored configuration with every `_target_` and key of an older version replaced by today's.

    The order is unchanged; arguments that it lacks get their meaning from before (BEFORE).
    """
    return _renamed(config, "")


def _renamed(node: Any, key: str) -> Any:
    if isinstance(node, list):
        return [_renamed(item, key) for item in node]
    if not isinstance(node, dict):
        return node
    renamed = {}
    for name, value in node.items():
        path = f"{key}.{name}".lstrip(".")
        if name == "_target_" and isinstance(value, str):
            renamed[name] = todays_target(value)
        else:
            renamed[KEYS[path].rpartition(".")[2] if path in KEYS else name] = _renamed(value, path)
    target = renamed.get("_target_")
    return renamed | {k: v for k, v in BEFORE.get(str(target), {}).items() if k not in renamed}
