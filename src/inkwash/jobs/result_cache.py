"""Cache key of a result: a hash of everything it depends on, so that no stored number outlives its inputs."""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from inkwash.config.paths import PACKAGE
from inkwash.config.trust import trusted_packages
from inkwash.errors import UserError
from inkwash.runs.averages import PREFIX
from inkwash.runs.directory import RunDirectory
from inkwash.training.precision import resolve_precision

# Keys of an evaluation's configuration without effect on any value.
WITHOUT_EFFECT = ("cells", "name", "trainer", "tracking", "cache_dir")
# Keys, at any depth, whose values are files or folders.
FILES = ("images", "pipeline", "reference_file", "weights_path")
PACKAGES = ("torch", "torchvision", "torchmetrics", "torch-fidelity", "diffusers")


def key_of(config: dict[str, Any], cell: dict[str, Any], data: Any, device: torch.device) -> str:
    """Return 16 hexadecimal digits of settings, data, the files and runs that settings name, code and arithmetic."""
    settings = {key: value for key, value in {**config, **cell}.items() if key not in WITHOUT_EFFECT}
    everything = {
        **settings,
        "precision": config["trainer"]["precision"],
        "fingerprints": [data.train.fingerprint, data.heldout.fingerprint],
        "files": list(_contents(settings)),
        "snapshots": _snapshots(settings),
        "code": _code(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": [device.type, resolve_precision("auto", device)],
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _contents(node: Any) -> Iterator[Any]:
    """Yield fingerprints of the files, folders and runs that a configuration names."""
    if isinstance(node, list):
        for item in node:
            yield from _contents(item)
    if not isinstance(node, dict):
        return
    if node.get("run") is not None and "checkpoint" in node:
        yield [_of_run(node["run"], file) for file in ("config.yaml", f"checkpoints/{node['checkpoint']}")]
    for key, value in node.items():
        if key in FILES and value is not None:
            yield _listing(Path(value))
        yield from _contents(value)


def _snapshots(settings: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of change of the snapshots that weights=posthoc_... is made of."""
    if not str(settings.get("weights")).startswith(PREFIX):
        return []
    return _listing(RunDirectory.find(settings["run"]).snapshots)


def _of_run(run: str, name: str) -> str:
    """Return the SHA-256 of a file of a run."""
    try:
        with open(RunDirectory.find(run).path / name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (UserError, FileNotFoundError):
        return "missing"  # loading it raises the error


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of change: reading a folder of images takes longer than some metrics."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = ((file, file.stat()) for file in files if file.is_file())
    return [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


@cache
def _code() -> str:
    """Return the SHA-256 of our code, except for reports/, which only shows values, and of INKWASH_TRUST's packages."""
    digest = hashlib.sha256()
    for package in (PACKAGE, *_trusted()):
        for path in sorted(package.rglob("*.py")) if package.is_dir() else [package]:
            if package != PACKAGE or path.relative_to(PACKAGE).parts[0] != "reports":
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _trusted() -> Iterator[Path]:
    """Yield the folders and files of the packages and modules that INKWASH_TRUST names."""
    for name in trusted_packages():
        spec = importlib.util.find_spec(name.partition(".")[0])  # of a module in a package it would import this
        yield from map(Path, (spec.submodule_search_locations or [spec.origin or ""]) if spec else [])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
