"""Today's names for what stored configurations and checkpoints call by an older one.

A `_target_` names the module that defines a class, so moving a class changes what config.yaml of an older run means.
This table is applied where a stored configuration is read: config.yaml (runs/config_file.py) and the one inside a
checkpoint (checkpoints/io.py).
"""

from typing import Any

# Whole modules, and single names of a module that was divided.
TARGETS = {
    "inkwash.metrics.bootstrap": "inkwash.metrics.frechet_interval",
    "inkwash.metrics.classifier": "inkwash.metrics.extractors.classifier",
    "inkwash.metrics.clip": "inkwash.metrics.extractors.clip",
    "inkwash.metrics.dinov2": "inkwash.metrics.extractors.dinov2",
    "inkwash.metrics.extrapolation": "inkwash.metrics.frechet_infinity",
    "inkwash.metrics.pixels": "inkwash.metrics.extractors.pixels",
    "inkwash.metrics.reweighted": "inkwash.metrics.frechet_reweighted",
    "inkwash.training.callbacks.guard": "inkwash.training.callbacks.finite_loss",
    "inkwash.training.callbacks.idle": "inkwash.training.callbacks.unused_parameters",
    "inkwash.training.callbacks.noise_levels": "inkwash.training.callbacks.loss_by_snr",
    "inkwash.training.callbacks.signals": "inkwash.training.callbacks.stop_on_signal",
    "inkwash.training.job_tracking": "inkwash.tracking.wandb_jobs",
    "inkwash.training.memory": "inkwash.training.micro_batches",
    "inkwash.training.metrics_csv": "inkwash.tracking.csv_logger",
    "inkwash.training.sharding": "inkwash.training.fsdp",
    "inkwash.training.tracking": "inkwash.tracking.wandb_logger",
    "inkwash.loss.L2": "inkwash.losses.distances.L2",
    "inkwash.loss.L1": "inkwash.losses.distances.L1",
    "inkwash.loss.Huber": "inkwash.losses.distances.Huber",
    "inkwash.loss.PseudoHuber": "inkwash.losses.distances.PseudoHuber",
    "inkwash.loss.DiffusionLoss": "inkwash.losses.simple.DiffusionLoss",
    "inkwash.loss.VLBLoss": "inkwash.losses.vlb.VLBLoss",
    "inkwash.loss.HybridLoss": "inkwash.losses.vlb.HybridLoss",
    "inkwash.metrics.features.InceptionFeatures": "inkwash.metrics.extractors.inception.InceptionFeatures",
}
# Keys of the configuration.
KEYS = {"callbacks.fid": "callbacks.evaluation"}


def todays_target(target: str) -> str:
    """The name under which a class or function is found today."""
    module, _, name = target.rpartition(".")
    return TARGETS.get(target) or f"{TARGETS.get(module, module)}.{name}"


def in_todays_names(config: dict[str, Any]) -> dict[str, Any]:
    """Copy a configuration with every `_target_` and key of an older version replaced by today's, order kept."""
    return _renamed(config, "")


def _renamed(node: Any, key: str) -> Any:
    if isinstance(node, list):
        return [_renamed(item, key) for item in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for name, value in node.items():
        path = f"{key}.{name}".lstrip(".")
        new = KEYS.get(path, path).rpartition(".")[2] if path in KEYS else name
        if name == "_target_" and isinstance(value, str):
            found[name] = todays_target(value)
        else:
            found[new] = _renamed(value, path)
    return found
