"""Differences of configurations: of a run from the defaults, of runs from each other. Without torch."""

import contextlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from inkwash.files import write_json
from inkwash.reports.run_files import RunFiles
from inkwash.runs.config_file import OF_THE_LAUNCH, config_hash
from inkwash.runs.resume_check import changes

STORED = "config.json"  # in the folder report/
UNTOLD = ("cache_dir",)  # last parts of keys that say where a machine keeps things
Difference = list[tuple[str, Any, Any]]


@cache
def defaults() -> dict[str, Any]:
    """Return what `make train` without overrides would train today; composing it takes half a second."""
    from inkwash.config.cli import compose  # not at the top: Hydra's parser, which a rank does without

    plain: Any = OmegaConf.to_container(compose(), resolve=True)
    return {key: value for key, value in plain.items() if key not in OF_THE_LAUNCH}


def from_defaults(files: RunFiles) -> Difference:
    """Return (key, default, value) of each key of a run that is not as by default.

    It is stored when it is first asked for, while the run trains: so the defaults are those of the code that trained
    it, and not of the code that writes the page.
    """
    found, now = files.drawing(STORED), config_hash(files.config)
    if found.get("hash") == now:
        return [(str(key), old, new) for key, old, new in found["difference"]]
    difference = [(c.key, c.old, c.new) for c in changes(defaults(), files.config) if _told(c.key)]
    with contextlib.suppress(OSError):  # a run that may only be read
        files.run.report_folder.mkdir(exist_ok=True)
        write_json(files.run.report_folder / STORED, {"hash": now, "difference": difference})
    return difference


def between(configs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Return (key, value of each configuration) of each key that not all have alike."""
    first, *others = configs.values()
    keys = dict.fromkeys(c.key for other in others for c in changes(dict(first), dict(other)) if _told(c.key))
    return [(key, [_at(config, key) for config in configs.values()]) for key in keys]


def _told(key: str) -> bool:
    return key.rpartition(".")[2] not in UNTOLD


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config
