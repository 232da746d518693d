"""Find the key or the choice that an unknown name on the command line was probably meant to be."""

import difflib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from inkwash.config.own_folders import group_files
from inkwash.config.paths import config_dir


def nearest(text: str, name: str) -> str:
    """Return the name nearest to the unknown one in a message of Hydra's, or "".

    Args:
        text: the message.
        name: the command, whose schema has the top-level keys.
    """
    if choice := re.search(r"Could not find '([^']*)'", text):
        group, _, given = choice[1].rpartition("/")
        there = [path.stem for path in group_files(group)]
        return next((f"{group}={found}" for found in difflib.get_close_matches(given, there, 1)), "")
    # `Key 'x' is not in struct` of a group's file, `Key 'x' not in 'Train'` of the schema.
    key = re.search(r"full_key: ([\w.]+)", text)
    if key is None or not re.search(r"Key '\w+' (is )?not in", text):
        return ""
    *parents, given = key[1].split(".")
    if not parents:
        there = ConfigStore.instance().repo[f"{name}_schema.yaml"].node
        return next(iter(difflib.get_close_matches(given, sorted({*there} - {given}), 1)), "")
    # A node may stand in several places, by reference; its keys are set where it is itself: spacing.steps.
    groups = [*reversed(parents[1:]), *_references_of(parents[0]), parents[0]]
    exact = ((group, _places(group).get(given)) for group in groups if group != parents[0])
    found = [(group, places) for group, places in exact if places]
    found = found or _close(given, ".".join(parents), groups)
    return _shown(*found[0], key[1], _chosen(found[0][0], name)) if found else ""


def _close(given: str, parent: str, groups: list[str]) -> list[tuple[str, dict[str, list[str]]]]:
    """List the groups that have the key most like the one that was typed, with its places: a key beside it, if any is.

    Args:
        given: the last part of the key that was typed.
        parent: the parts before it.
        groups: the one of the key itself is the last.
    """
    beside = {key: places for key, places in _places(groups[-1]).items() if f"{parent}.{key}" in places}
    if near := difflib.get_close_matches(given, beside, 1):
        return [(groups[-1], beside[near[0]])]
    others = [(group, _places(group)) for group in groups]
    near = difflib.get_close_matches(given, {key for _, places in others for key in places}, 1)
    return [(group, places[key]) for group, places in others for key in near if key in places]


def _shown(group: str, places: dict[str, list[str]], typed: str, chosen: str | None) -> str:
    """Name a key, at the place that was typed if it exists there, and the choices of its group that have it.

    They are left out if the chosen one has it, unless the key is the one that was typed: then nothing is chosen.
    """
    parent = typed.rpartition(".")[0]
    path = next((path for path in places if path.rpartition(".")[0] == parent), min(places, key=len))
    choices = [file.stem for file in group_files(group)]
    if path != typed and (places[path] == choices or chosen in places[path]):
        return path
    return f"{path}, of {group}={' or '.join(places[path][:3])}"


def _chosen(group: str, name: str) -> str | None:
    """Return the choice of a group: the one on the command line, else the default of the command."""
    typed = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith(f"{group}=")]
    if typed:
        return typed[-1]
    command = _loaded(Path(config_dir(), f"{name}.yaml").read_text("utf-8"))
    return next((item[group] for item in command["defaults"] if isinstance(item, dict) and group in item), None)


def _references_of(group: str) -> list[str]:
    """List the groups to which the files of a group refer."""
    texts = map(_text, group_files(group))
    return sorted({word for text in texts for word in re.findall(r"\$\{(\w+)\}", text)})


def _places(group: str) -> dict[str, dict[str, list[str]]]:
    """Map each key in the files of a group to its full names, and these to the files that have them."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in group_files(group):
        text = _text(file)
        package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
        top = package[1] if package else group
        for path in [*([top] if "." in top else []), *_paths(_loaded(text), top)]:
            found.setdefault(path.rpartition(".")[2], {}).setdefault(path, []).append(file.stem)
    return found


def _text(file: Path) -> str:
    return file.read_text("utf-8", "replace")  # of the user's own, which may be of another encoding


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:  # of the user's own, which is not what the message is about
        return None


def _paths(node: Any, name: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{name}.{key}"
            yield from _paths(value, f"{name}.{key}")


def several_values(text: str, name: str) -> str | None:
    """Return a sentence for an override that lists values, seed=1,2, where Hydra says it needs --multirun; else None.

    Args:
        text: Hydra's message on one line.
        name: of the configuration, which is that of the command.
    """
    listed = re.match(r"Ambiguous value for argument '(.*)' 1\. To use it as a list", text)
    found = listed or re.match(r"Sweep parameters '(.*)' requires --multirun", text)
    if found is None:
        return None
    argument = found[1]
    key, _, value = argument.partition("=")
    each = (
        f"`inkwash sweep {shlex.quote(argument)}` trains one for each"
        if name == "train"
        else "run the command once for each"
    )
    what = "model is trained" if name == "train" else "value is taken"
    one = f"; as one value it is '{key}=[{value}]', a list, or '{key}=\"{value}\"', a text" if listed else ""
    return f"{argument} lists several values, and one {what}: {each}{one}"
