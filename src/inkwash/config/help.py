"""The page of `inkwash COMMAND --help`: made of the text of conf/COMMAND.yaml, whose comments explain its keys."""

import re
import shutil
import textwrap
from itertools import pairwise
from pathlib import Path

from inkwash.config.paths import config_dir

# A line of the defaults list, `- data: digits   # comment`, of a group with choices.
GROUP = re.compile(r"  - (?P<group>[a-z_]+): (?P<choice>[^#]*)")


def page(name: str, arguments: list[str] | None = None) -> str:
    """Return the page: what the command does, with examples; the choices of its groups; its keys.

    Args:
        name: of a file in conf/.
        arguments: the command line, whose --config-dir may bring choices of the user's own.
    """
    text = (Path(config_dir()) / f"{name}.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("defaults:\n")
    defaults, _, keys = rest.partition("\n\n")
    keys = keys.partition("\nhydra:")[0].strip("\n")
    examples = [re.sub(r"\bmake (?=[a-z]+\b)", "inkwash ", line.removeprefix("# ")) for line in head.splitlines()]
    width = min(shutil.get_terminal_size((100, 0)).columns, 120)
    parts = ["\n".join(examples)]
    if choices := _choices(defaults, arguments or [], width):
        parts.append("GROUP=CHOICE, [] is chosen:\n" + choices)
    parts.append("KEY=VALUE:\n" + textwrap.indent(keys, "  "))
    parts.append(
        "--cfg job prints all keys, --config-dir DIR adds a folder of choices, --hydra-help lists Hydra's options."
    )
    return "\n\n".join(parts)


def _choices(defaults: str, arguments: list[str], width: int) -> str:
    """Return a line or more for each group of a defaults list, with the names of its choices."""
    lines = []
    for found in map(GROUP.match, defaults.splitlines()):
        if found is None:
            continue
        chosen = re.findall(r"[a-z0-9_]+", found["choice"])
        names = [f"[{name}]" if name in chosen else name for name in _names(found["group"], arguments)]
        if names:
            indent = " " * 18
            lines.append(
                textwrap.fill(
                    " ".join(names), width, initial_indent=f"  {found['group']:<16}", subsequent_indent=indent
                )
            )
    return "\n".join(lines)


def _names(group: str, arguments: list[str]) -> list[str]:
    """Return the names of a group's files, here and in the folders that --config-dir names."""
    own = [
        after if name in ("--config-dir", "-cd") else name.partition("=")[2]
        for name, after in pairwise([*arguments, ""])
        if name in ("--config-dir", "-cd") or name.startswith("--config-dir=")
    ]
    return sorted({path.stem for folder in (config_dir(), *own) for path in Path(folder, group).glob("*.yaml")})
