"""Today's names for what stored configurations and checkpoints call by an older one.

A `_target_` names the module that defines a class, so moving a class changes what config.yaml of an older run means.
This table is applied where a stored configuration is read: config.yaml (runs/config_file.py) and the one inside a
checkpoint (checkpoints/io.py).
"""

from typing import Any

# Whole modules, and single names of a module that was divided.
TARGETS = {}
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
