"""The reference of conf/: every command, group, choice and key, read from the YAML files and the docstrings.

A key's meaning is the comment behind it. Where a YAML says nothing, it is what the docstring of the class that
`_target_` names says of that argument.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

from inkwash.config.help import GROUP
from inkwash.config.paths import PACKAGE, config_dir

CONF = Path(config_dir())
# A line `key: value   # comment` of a YAML; of a line in braces the value is the whole of it.
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w/]+):(?: +(?P<value>[^#\s][^#]*?))?(?: *# ?(?P<comment>.*))?$")
TRAILING = re.compile(r" +# ?(?P<comment>.*)$")
ARGUMENT = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")
COMMANDS = (
    "train", "sample", "evaluate", "data", "encode", "runs", "compare", "report", "export", "import", "dashboard",
    "sync", "clean-runs",
)  # fmt: skip
HIDDEN = ("defaults", "hydra")


class Key(NamedTuple):
    """A key of a YAML: its dotted path, its value as it is written, and its comment."""

    path: str
    value: str
    comment: str


def page() -> str:
    """Return the reference as Markdown: commands first, then groups in alphabetical order."""
    groups = sorted({path.parent.name for path in CONF.glob("*/*.yaml")})
    parts = ["## Commands", *(_command(name) for name in COMMANDS if (CONF / f"{name}.yaml").is_file())]
    parts += ["## Groups", *(_group(name) for name in groups)]
    return "\n\n".join(parts)


def _command(name: str) -> str:
    text = (CONF / f"{name}.yaml").read_text("utf-8")
    defaults = text.partition("defaults:\n")[2].partition("\n\n")[0]
    groups = [found for found in map(GROUP.match, defaults.splitlines()) if found]
    rows = [
        (f"[`{found['group']}`](#{found['group']})", _code(found["choice"].strip()), _trailing(line))
        for line, found in ((found.string, found) for found in groups)
    ]
    keys = [key for key in keys_of(text) if key.path.split(".")[0] not in HIDDEN]
    parts = [f"### `{name}`", _intro(text)]
    if rows:
        parts.append(_table(("group", "chosen", ""), rows))
    parts.append(_table(("key", "default", "meaning"), [(f"`{k.path}`", _code(k.value), k.comment) for k in keys]))
    return "\n\n".join(parts)


def _group(group: str) -> str:
    choices = sorted((CONF / group).glob("*.yaml"))
    return "\n\n".join([f"### {group} {{ #{group} }}", *(_choice(group, path) for path in choices)])


def _choice(group: str, path: Path) -> str:
    text = path.read_text("utf-8")
    keys = keys_of(text)
    target = next((key.value for key in keys if key.path == "_target_"), "")
    documents = _documents(keys)
    rows = [
        (f"`{key.path}`", _code(key.value), key.comment or documents.get(key.path, ""))
        for key in map(_as_node, keys)
        if key.path.rpartition(".")[2] not in ("_target_", "_partial_", "defaults")
    ]
    based = re.findall(r"^defaults: \[(\w+)\]|^  - (?:override /)?([\w/]+(?:: \w+)?)$", text, re.MULTILINE)
    parts = [f"#### `{group}={path.stem}`"]
    if said := _intro(text) or summary_of(target):
        parts.append(said)
    if target:
        parts.append(f"`{target}`")
    if based:
        parts.append("On top of " + ", ".join(f"`{a or b.replace(': ', '=')}`" for a, b in based) + ".")
    if rows:
        parts.append(_table(("key", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _as_node(key: Key) -> Key:
    """Return `node._target_` as the node itself: its value is the class, its meaning the docstring's first line."""
    node = key.path.removesuffix("._target_")
    name = key.value.rpartition(".")[2]
    return key if node == key.path else Key(node, name, key.comment or summary_of(key.value))


def _documents(keys: list[Key]) -> dict[str, str]:
    """Return what docstrings say of the arguments of every node with a `_target_`, by dotted path."""
    said: dict[str, str] = {}
    for key in keys:
        node, _, last = key.path.rpartition(".")
        if last == "_target_":
            said |= {f"{node}.{name}".lstrip("."): text for name, text in arguments_of(key.value).items()}
    return said


def keys_of(text: str) -> list[Key]:
    """Return the keys of a YAML in order. A comment on a line of its own that is indented belongs to the key above."""
    keys: list[Key] = []
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        if (found := LINE.match(line)) is None:
            if keys and (more := re.match(r" {8,}# ?(.*)", line)):
                keys[-1] = keys[-1]._replace(comment=f"{keys[-1].comment} {more[1]}")
            continue
        indent = len(found["indent"])
        parents = [(at, name) for at, name in parents if at < indent]
        path = ".".join([*(name for _, name in parents), found["key"]])
        if found["value"] is None:
            parents.append((indent, found["key"]))
            if not found["comment"]:
                continue
        keys.append(Key(path, (found["value"] or "").strip(), found["comment"] or ""))
    return keys


def summary_of(target: str) -> str:
    """Return the first paragraph of the docstring of a class or function of ours; "" for others."""
    node = _definition(target)
    text = ast.get_docstring(node) or "" if node else ""
    return " ".join(text.partition("\n\n")[0].split())


def arguments_of(target: str) -> dict[str, str]:
    """Return what the docstrings of a class of ours and its bases, or of a function, say of each argument, by name."""
    node = _definition(target)
    section = re.search(r"^Args:\n((?: +.*\n?|\n)+)", ast.get_docstring(node) or "" if node else "", re.MULTILINE)
    said = {name: text for base in _bases(target, node) for name, text in arguments_of(base).items()}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if found := ARGUMENT.match(line.removeprefix("    ")):
            names = found["names"].split(", ")
            said |= dict.fromkeys(names, found["text"])
        elif line.strip():
            said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return said


def _definition(target: str) -> ast.ClassDef | ast.FunctionDef | None:
    kinds, (module, _, name) = (ast.ClassDef, ast.FunctionDef), target.rpartition(".")
    return next((node for node in _statements(module) if isinstance(node, kinds) and node.name == name), None)


def _bases(target: str, node: ast.ClassDef | ast.FunctionDef | None) -> list[str]:
    """Return the dotted names of the classes that a class derives from, where they are named without a dot."""
    module = target.rpartition(".")[0]
    froms = [statement for statement in _statements(module) if isinstance(statement, ast.ImportFrom)]
    imported = {alias.name: f"{statement.module}.{alias.name}" for statement in froms for alias in statement.names}
    bases = [base.id for base in getattr(node, "bases", ()) if isinstance(base, ast.Name)]
    return [imported.get(name, f"{module}.{name}") for name in bases]


def _statements(module: str) -> list[ast.stmt]:
    file = PACKAGE.parent / f"{module.replace('.', '/')}.py"
    return ast.parse(file.read_text("utf-8")).body if module.startswith("inkwash.") and file.is_file() else []


def _intro(text: str) -> str:
    """Return the comment at the top of a YAML: a paragraph, or lines as they are where they show what to type."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    if any("make " in line or line.startswith("  ") for line in lines):
        return "```text\n" + "\n".join(lines) + "\n```"
    return " ".join(lines)


def _trailing(line: str) -> str:
    found = TRAILING.search(line)
    return found["comment"] if found else ""


def _code(value: str) -> str:
    return f"`{value}`" if value else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
