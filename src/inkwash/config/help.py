"""The page of `inkwash COMMAND --help`: made of the text of conf/COMMAND.yaml, whose comments explain its keys."""

import re
import shutil
import textwrap
from collections import Counter
from pathlib import Path

from inkwash.config.own_folders import group_files, take_flags
from inkwash.config.paths import config_dir

# A line of the defaults list, `- data: digits   # comment`, of a group with choices.
GROUP = re.compile(r"  - (?P<group>[a-z_]+): (?P<choice>[^#]*)")
MANY = 4


def page(name: str, arguments: list[str] | None = None) -> str:
    """Return the page: what the command does, with examples; the choices of its groups; its keys.

    Args:
        name: of a file in conf/.
        arguments: the command line, whose --config-dir may bring choices of the user's own.

    Raises:
        UserError: a folder of the user's own cannot be used.
    """
    take_flags(arguments or [])
    text = (Path(config_dir()) / f"{name}.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("defaults:\n")
    defaults, _, keys = rest.partition("\n\n")
    keys = keys.partition("\nhydra:")[0].strip("\n")
    examples = [re.sub(r"\bmake (?=[a-z]+\b)", "inkwash ", line.removeprefix("# ")) for line in head.splitlines()]
    width = min(shutil.get_terminal_size((100, 0)).columns, 120)
    parts = ["\n".join(examples)]
    if choices := _choices(defaults, width):
        parts.append("GROUP=CHOICE, [] is chosen:\n" + choices)
    typed = [line for line in keys.splitlines() if "_target_" not in line]  # a node is not
    parts.append("KEY=VALUE:\n" + "\n".join(_folded(f"  {line}", width) for line in typed))
    last = "--cfg job prints all keys; --config-dir DIR or INKWASH_CONF adds choices; --hydra-help is Hydra's."
    return "\n\n".join(parts) + "\n" + _filled(last, width)  # the page of train fills a screen


def _folded(line: str, width: int) -> str:
    """Return a key with its comment, whose words go on below it where the line is too long."""
    key, mark, comment = line.partition("# ")
    if not mark or len(line) <= width:
        return line
    return _filled(comment, width, key + mark)


def _filled(text: str, width: int, start: str = "") -> str:
    """Break text into lines between words; those after the first are indented as far as `start`, if that leaves 40."""
    indent = " " * min(len(start), width - 40)
    return textwrap.fill(
        text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _choices(defaults: str, width: int) -> str:
    """Return a line or more for each group of a defaults list, with the names of its choices."""
    lines = []
    for found in map(GROUP.match, defaults.splitlines()):
        if found is None:
            continue
        chosen = re.findall(r"[a-z0-9_]+", found["choice"])
        there = [file.stem for file in group_files(found["group"])]
        names = [f"[{name}]" if name in chosen else name for name in there]
        names = _ends_in_braces(_in_braces(names))
        if names:
            lines.append(_filled(" ".join(names), width, f"  {found['group']:<16}"))
    return "\n".join(lines)


def _in_braces(names: list[str]) -> list[str]:
    """Write names that begin alike, edm2_l and so on, as one word, edm2_{l,m,s,xl}, if there are MANY of them."""
    starts = Counter(name.partition("_")[0] for name in names if "_" in name)
    words = []
    for name in names:
        start, _, end = name.partition("_")
        if starts[start] < MANY or not end or name.startswith("["):
            words.append(name)
        elif words and words[-1].startswith(f"{start}_{{"):
            words[-1] = f"{words[-1][:-1]},{end}}}"
        else:
            words.append(f"{start}_{{{end}}}")
    return words


def _ends_in_braces(words: list[str]) -> list[str]:
    """Write names that end alike, dit_in256 and so on, as one word at the end, {dit,sit}_in256, if there are MANY."""
    alone = [word for word in words if "_" in word and not set("[{") & set(word)]
    ends = Counter(word.rpartition("_")[2] for word in alone)
    together: dict[str, list[str]] = {}
    for start, _, end in (word.rpartition("_") for word in alone):
        if ends[end] >= MANY:
            together.setdefault(end, []).append(start)
    rest = [word for word in words if word not in alone or word.rpartition("_")[2] not in together]
    return [*rest, *(f"{{{','.join(starts)}}}_{end}" for end, starts in together.items())]
