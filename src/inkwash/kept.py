"""The name under which a result is kept: of all that it depends on, so that no number outlives what it tells of."""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from inkwash import rundir
from inkwash.errors import UserError

# Keys of an evaluation's configuration that no value depends on.
WITHOUT_EFFECT = ("cells", "name", "trainer", "tracking", "cache_dir")
# Keys, wherever they are, whose values are files or folders.
FILES = ("images", "pipeline", "reference_file", "weights_path")


def key_of(config: dict[str, Any], cell: dict[str, Any], data: Any) -> str:
    """Of the settings, the data, the files that the settings name, checkpoints among them, and the code."""
    settings = {key: value for key, value in {**config, **cell}.items() if key not in WITHOUT_EFFECT}
    everything = {
        **settings,
        "precision": config["trainer"]["precision"],
        "fingerprints": [data.train.fingerprint, data.heldout.fingerprint],
        "files": list(_contents(settings)),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _contents(node: Any) -> Iterator[Any]:
    """What is in the files and folders that a configuration names."""
    if isinstance(node, list):
        for item in node:
            yield from _contents(item)
    if not isinstance(node, dict):
        return
    if node.get("run") is not None and "checkpoint" in node:
        yield _checkpoint(node["run"], node["checkpoint"])
    for key, value in node.items():
        if key in FILES and value is not None:
            yield _listing(Path(value))
        yield from _contents(value)


def _checkpoint(run: str, name: str) -> str:
    try:
        return _digest(rundir.find_run(run) / "checkpoints" / name)
    except (UserError, OSError):
        return "missing"  # whoever loads it says it better


@cache
def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change; reading a folder of images takes longer than some of the metrics."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = ((file, file.stat()) for file in files if file.is_file())
    return [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in found]


@cache
def _code() -> str:
    """Of everything but the pictures and tables that are made of the values."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if "reports" not in path.relative_to(package).parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()
