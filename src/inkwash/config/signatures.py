"""Check a node's arguments against its target's signature, read from the source without torch."""

import ast
import difflib
import json
from functools import cache
from typing import Any

from inkwash.config.annotations import described, fits
from inkwash.config.paths import PACKAGE
from inkwash.config.renames import todays_target
from inkwash.errors import UserError

# Keys of a node that Hydra reads itself; the others are its target's arguments.
OF_HYDRA = ("_target_", "_partial_")


def check_arguments(node: Any, key: str = "") -> None:
    """Raise UserError for an argument that one of our own targets does not have, or a value of another type.

    Args:
        key: the place of the node, for the message.
    """
    if isinstance(node, list):
        for i, item in enumerate(node):
            check_arguments(item, f"{key}[{i}]")
    if not isinstance(node, dict):
        return
    for name, kind in (("_target_", str), ("_partial_", bool)):
        if not isinstance(node.get(name, kind()), kind):
            raise UserError(
                f"{_joined(key, name)}={shown(node[name])} must be {'true or false' if kind is bool else 'a name'}"
            )
    target = str(node.get("_target_", ""))
    given = {str(name): value for name, value in node.items() if name not in OF_HYDRA}
    arguments = _arguments(target) if target.startswith("inkwash.") else None
    if arguments is not None and (unknown := sorted(given.keys() - arguments.keys())):
        near = difflib.get_close_matches(unknown[0], arguments, 1)
        hint = f"did you mean {_joined(key, near[0])}?" if near else f"it takes {', '.join(arguments) or 'none'}"
        name = target.rsplit(".", 1)[1]
        raise UserError(f"{_joined(key, unknown[0])}: {name} has no such argument; {hint}")
    for name, value in given.items():
        reference = isinstance(value, str) and "${" in value  # is checked once it is resolved
        if arguments is not None and not (reference or fits(arguments[name], value)):
            kind, text = described(arguments[name]), shown(value)
            # Of a name that was read as a number.
            quoted = isinstance(value, bool | int | float) and fits(arguments[name], text)
            hint = f"; as text it is '{_joined(key, name)}=\"{text}\"'" if quoted else ""
            raise UserError(f"{_joined(key, name)}={text} must be {kind}{hint}")
        check_arguments(value, _joined(key, name))


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}".lstrip(".")


def shown(value: Any) -> str:
    """Format a value roughly as it is typed, in 60 letters at most."""
    text = json.dumps(value, default=str) if isinstance(value, bool | list | dict | None) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def defaults_of(target: str) -> dict[str, Any]:
    """Return the default values of the arguments of one of our classes or functions, as a YAML file has them.

    Those that are literals, or names of literals of the same module or one that it imports from.
    """
    found, tree = _signature(target), definitions_of(target)[1]
    if found is None:
        return {}
    positional = [*found.posonlyargs, *found.args]
    pairs = [*zip(positional[len(positional) - len(found.defaults) :], found.defaults, strict=True)]
    pairs += [
        (name, value) for name, value in zip(found.kwonlyargs, found.kw_defaults, strict=True) if value is not None
    ]
    values = {}
    for argument, value in pairs:
        try:
            literal = _constant(value.id, tree) if isinstance(value, ast.Name) else value
            values[argument.arg] = _as_yaml(ast.literal_eval(literal or value))
        except ValueError:  # an expression
            continue
    return values


def _constant(name: str, tree: ast.Module) -> ast.expr | None:
    """Return what a module assigns to a name, or the module that it imports the name from."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            first, value = node.targets[0], node.value
            pairs = [(target, value) for target in node.targets]
            if isinstance(first, ast.Tuple) and isinstance(value, ast.Tuple):  # A, B = 1, 2
                pairs = zip(first.elts, value.elts, strict=True)
            for target, assigned in pairs:
                if isinstance(target, ast.Name) and target.id == name:
                    return assigned
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("inkwash.") and node.level == 0:
            path = PACKAGE.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            if name in {alias.name for alias in node.names} and path.exists():
                return _constant(name, ast.parse(path.read_text("utf-8")))
    return None


def _as_yaml(value: Any) -> Any:
    return [_as_yaml(item) for item in value] if isinstance(value, tuple | list) else value


@cache
def _arguments(target: str) -> dict[str, ast.expr | None] | None:
    """Return the arguments of one of our classes or functions with their annotations, read from its source.

    None if it takes any (**kwargs).
    """
    found = _signature(target)
    if found is None:
        return {}
    arguments = {argument.arg: argument.annotation for argument in (*found.args, *found.kwonlyargs)}
    of_a_class = arguments.pop("self", found) is not found
    return None if found.kwarg and of_a_class else arguments


@cache
def _signature(target: str) -> ast.arguments | None:
    """Return the arguments of a function, or of a class's __init__, its own or inherited; None without any."""
    definitions, tree = definitions_of(target)
    return _signature_in(definitions[target.rpartition(".")[2]], definitions, tree)


@cache
def definitions_of(target: str) -> tuple[dict[str, Any], ast.Module]:
    """Return the classes and functions of a target's module, by name, and the module's syntax tree.

    Raises:
        UserError: there is no such module, or it does not define the target.
    """
    module, _, name = target.rpartition(".")
    if (today := todays_target(target)) != target:
        raise UserError(f"_target_={target} is called {today} now: write _target_: {today}")
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if not path.exists():
        raise UserError(f"_target_={target}: there is no module {module}")
    tree = ast.parse(path.read_text("utf-8"))
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if name not in definitions:
        near = difflib.get_close_matches(name, definitions, 1)
        raise UserError(f"_target_={target}: {module} has no {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return definitions, tree


def _signature_in(node: ast.AST, definitions: dict[str, Any], tree: ast.Module) -> ast.arguments | None:
    if isinstance(node, ast.FunctionDef):
        return node.args
    assert isinstance(node, ast.ClassDef)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return item.args
    for base in (base.id for base in node.bases if isinstance(base, ast.Name)):
        if base in definitions:
            return _signature_in(definitions[base], definitions, tree)
        for imported in (item for item in tree.body if isinstance(item, ast.ImportFrom)):
            if str(imported.module).startswith("inkwash") and base in {alias.name for alias in imported.names}:
                return _signature(f"{imported.module}.{base}")
    return None
