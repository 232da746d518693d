"""Relative paths of a run's data: they count from the folder where the training was started, which holds runs/."""

import os
import re
from collections.abc import Iterator
from glob import iglob
from pathlib import Path
from typing import Any


def found(config: dict[str, Any], run: Path, runs: str) -> dict[str, Any]:
    """Return a run's configuration, its relative paths of images made absolute if they lead nowhere from here.

    Args:
        config: of the run.
        run: its directory.
        runs: the name of the folder of all runs.
    """
    data = config.get("data")
    if not isinstance(data, dict):
        return config
    data = {**data, "path": found_path(data.get("path"), run, runs)} if "path" in data else data
    source = data.get("source")
    if isinstance(source, dict) and "heldout_path" in source:
        data = {**data, "source": {**source, "heldout_path": found_path(source["heldout_path"], run, runs)}}
    return {**config, "data": data}


def place(path: Path) -> Path:
    """Return the absolute path of a run, `latest` followed. Other links stay: from them its relative paths count."""
    path = Path(os.path.normpath(path.absolute()))
    if path.is_symlink() and os.sep not in (name := os.readlink(path)):
        return path.with_name(name)
    return path


def found_path(path: Any, run: Path, runs: str) -> Any:
    """Return a path of a run's configuration, made absolute if it is relative and leads nowhere from here."""
    if not isinstance(path, str) or not path or os.path.isabs(path) or path.startswith("~") or _is_there(Path(path)):
        return path
    places = (Path(os.path.normpath(folder / path)) for folder in _started(run, runs))
    return next((str(place) for place in places if _is_there(place)), path)


def _started(run: Path, runs: str) -> Iterator[Path]:
    """Yield the folders that hold the folder of all runs, by the run's path as it is given and by its real one."""
    for place in dict.fromkeys((Path(os.path.normpath(run.absolute())), run.resolve())):
        yield from (folder.parent for folder in place.parents if folder.name == runs)


def _is_there(path: Path) -> bool:
    """Tell whether a path exists, or of a pattern one of the files that it stands for."""
    return path.exists() or next(iglob(re.sub(r"\{[^{}]*\}", "*", str(path)), recursive=True), None) is not None
