"""Check a configuration before torch is imported: a misspelt key is reported within half a second."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.config.annotations import is_node
from inkwash.config.packages import check_packages
from inkwash.config.renames import refuse_old_keys
from inkwash.config.secrets import refuse_secrets
from inkwash.config.signatures import check_arguments, shown
from inkwash.config.trainer_options import check_options
from inkwash.config.trust import refuse_strangers
from inkwash.errors import UserError, chain

# Keys whose value is a node with a _target_, and keys that map names to such nodes.
PARTS = ("data", "model", "schedule", "prediction", "loss", "optimizer", "learning_rate", "ema", "trainer")
PROFILERS = ("simple", "advanced", "pytorch")
OPTIONAL = ("augment", "autoencoder")  # or null
LISTS = ("callbacks", "logger", "averages")


def check(config: DictConfig) -> None:
    """Check a composed configuration.

    Raises:
        UserError: a value is missing or of another type, a _target_ is unknown or not trusted, an argument is unknown,
            an API key is in it, or the batch size cannot be divided among the processes.
    """
    typed: Any = OmegaConf.to_container(config, resolve=False)
    # OmegaConf.missing_keys stops at an interpolation of a missing value.
    if missing := _missing("", typed):
        raise UserError(f"{missing[0]} has no value yet: pass {missing[0]}=...")
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        mistake = next((e for e in chain(error) if isinstance(e, UserError)), None)  # of a resolver
        raise mistake or UserError(" ".join(str(error).split())) from error
    refuse_secrets(plain)  # before a message shows a value
    refuse_old_keys(plain)
    if "callbacks" in plain:  # a training: other keys are computed from its number of steps
        _check_steps(plain.get("trainer"))
    for key, node in typed.items():  # first, to name the key that was typed, not one that refers to it
        check_arguments(node, str(key))
    check_nodes(plain)
    trainer = plain.get("trainer")
    if isinstance(trainer, dict) and "devices" in trainer:
        _check_devices(trainer["devices"])
    if "callbacks" in plain:
        check_parts(plain)
        check_packages(plain["logger"])
        _check_trainer(plain["trainer"])
        check_options(
            plain["trainer"].get("options") or {},
            plain["trainer"].get("accumulate_grad_batches", 1),
            plain["callbacks"],
        )
        _check_batch(plain)
        _check_classes(plain)


def check_nodes(config: dict[str, Any]) -> None:
    """Raise UserError for a node that `instantiate.build` may not call, or not with these arguments."""
    for key, node in config.items():
        refuse_strangers(node, str(key))
        check_arguments(node, str(key))


def check_training(config: DictConfig) -> None:
    """Check the composed configuration of a training, which may be the user's own YAML file."""
    if missing := [key for key in PARTS if key not in config]:
        raise UserError(f"{missing[0]} is missing: the file of a training begins with `defaults: [train]`")
    check(config)
    if config.resume not in ("auto", "must", "never"):
        raise UserError(f"resume={config.resume} must be auto, must or never")
    if config.compile not in (True, False, "must"):
        raise UserError(f"compile={config.compile} must be true, false or must")
    if config.profiler not in (None, *PROFILERS):
        raise UserError(f"profiler={config.profiler} must be null, {', '.join(PROFILERS)}")


def _missing(key: str, node: Any) -> list[str]:
    """List the keys whose value is ???, in the order of the configuration."""
    if isinstance(node, dict):
        return [missing for name, value in node.items() for missing in _missing(f"{key}.{name}".lstrip("."), value)]
    return [key] if node == "???" else []


def check_stored(config: dict[str, Any], path: Path) -> None:
    """Raise UserError unless a run's configuration has everything that sampling needs."""
    try:
        check_parts(config)
        if not (isinstance(config.get("seed"), int) and _is_shape(config["data"].get("shape"))):
            raise UserError("seed must be a whole number and data.shape three, [C, H, W]: restore the file from a copy")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(n, int) and n > 0 for n in value)


def check_parts(config: dict[str, Any]) -> None:
    """Raise UserError if a part of a training is not a node with a _target_."""
    for key in (*PARTS, *OPTIONAL):
        if not is_node(config.get(key)) and not (key in OPTIONAL and config.get(key) is None):
            raise UserError(f"{key}={shown(config.get(key))} must be a node with a _target_: choose one of conf/{key}")
    for key in LISTS:
        nodes = config.get(key)
        if key == "averages" and nodes is None:
            continue
        if not isinstance(nodes, dict):
            raise UserError(f"{key}={shown(nodes)} must be a mapping of names to nodes")
        for name, node in nodes.items():
            if not is_node(node):
                raise UserError(f"{key}.{name}={shown(node)} must be a node with a _target_; ~{key}.{name} removes it")


def _check_steps(trainer: Any) -> None:
    steps = trainer.get("max_steps") if isinstance(trainer, dict) else None
    if isinstance(steps, int) and steps < 1:
        raise UserError(f"trainer.max_steps={steps} must be at least 1")


def _check_devices(devices: Any) -> None:
    if devices != "auto" and not (type(devices) is int and devices >= 1):  # a bool is an int, too
        raise UserError(f"trainer.devices={shown(devices)} must be a number of processes, or auto for one on each GPU")


def _check_trainer(trainer: dict[str, Any]) -> None:
    accumulate = trainer.get("accumulate_grad_batches")
    if isinstance(accumulate, str) and accumulate != "auto":
        raise UserError(
            f"trainer.accumulate_grad_batches={accumulate} must be a whole number, or auto for as few parts as fit"
        )
    nodes = trainer.get("num_nodes")
    if nodes != "auto" and not (type(nodes) is int and nodes >= 1):
        raise UserError(f"trainer.num_nodes={shown(nodes)} must be a number of machines, or auto for those there are")


def _check_classes(config: dict[str, Any]) -> None:
    model, data = config["model"].get("num_classes"), config["data"].get("num_classes")
    if model is not None and model != data:
        raise UserError(f"model.num_classes={model}, but data.num_classes={data}: the network must know every label")


def _check_batch(config: dict[str, Any]) -> None:
    """Raise UserError unless the global batch can be divided evenly, if the number of devices is a number."""
    trainer, batch = config["trainer"], config["data"].get("batch_size")
    parts = [trainer.get("devices"), trainer.get("num_nodes"), trainer.get("accumulate_grad_batches")]
    parts[1] = 1 if parts[1] == "auto" else parts[1]  # whatever it is, it divides what is left
    if not isinstance(batch, int) or not all(isinstance(part, int) for part in parts):
        return
    devices, nodes, accumulate = parts
    if batch < 1 or min(parts) < 1 or batch % (devices * nodes * accumulate):
        raise UserError(
            f"data.batch_size={batch} is the global batch and must be a multiple of trainer.devices={devices} x "
            f"trainer.num_nodes={nodes} x trainer.accumulate_grad_batches={accumulate}"
        )
