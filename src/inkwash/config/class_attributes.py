"""Read an attribute of a class from its source, so that the command knows it without importing torch."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from inkwash.config.paths import PACKAGE


def class_attribute(target: str, name: str) -> Any:
    """Return an attribute that a class or one of its bases assigns in its body; None if there is none.

    Nothing is imported, neither the class nor a package around it.

    Args:
        target: MODULE.CLASS.
        name: of the attribute.

    Raises:
        ValueError: its value is not a literal.
    """
    order: dict[str, ast.ClassDef] = {}
    for owner, node in _with_bases(target):
        order.pop(owner, None)  # a common base comes after all classes that derive from it
        order[owner] = node
    for node in order.values():
        for statement in node.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                if name in [target.id for target in targets if isinstance(target, ast.Name)]:
                    return ast.literal_eval(statement.value)
    return None


def _with_bases(target: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield names and syntax trees of a class and its bases, depth first, as far as they are found."""
    module, _, name = target.rpartition(".")
    if (tree := _tree(module)) is None:
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield target, node
            for base in node.bases:
                yield from _with_bases(_full_name(ast.unparse(base).partition("[")[0], tree, module))
        elif isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            yield from _with_bases(_full_name(name, tree, module))  # a package that hands on its module's class


def _full_name(name: str, tree: ast.Module, module: str) -> str:
    """Return MODULE.NAME of what a module calls `name`, by the module's imports; else the module's own."""
    first, dot, rest = name.partition(".")
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if (alias.asname or alias.name.partition(".")[0]) == first and isinstance(node, ast.Import):
                return f"{alias.name if alias.asname else first}{dot}{rest}"
            if (alias.asname or alias.name) == first and isinstance(node, ast.ImportFrom):
                return f"{_origin(node, module)}.{alias.name}{dot}{rest}"
    return f"{module}.{name}"


def _origin(node: ast.ImportFrom, module: str) -> str:
    """Return the absolute name of the module that `from ... import` names."""
    if not node.level:
        return str(node.module)
    path = _source(module)
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + (path is not None and path.name == "__init__.py")]
    return ".".join([*parts, *filter(None, [node.module])])


@cache
def _tree(module: str) -> ast.Module | None:
    path = _source(module)
    try:
        return ast.parse(path.read_text("utf-8")) if path else None
    except (SyntaxError, ValueError, OSError):  # the import will say it better
        return None


def _source(module: str) -> Path | None:
    """Return the source file of a module. Only its top-level package is looked up, which imports nothing."""
    top, *parts = module.split(".")
    if top == PACKAGE.name:
        folders = [PACKAGE]
    else:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return None
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        if not folders and not parts:
            return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    found = (folder.joinpath(*parts) for folder in folders)
    files = (file for path in found for file in (path / "__init__.py", path.with_name(f"{path.name}.py")))
    return next((file for file in files if file.is_file()), None)
