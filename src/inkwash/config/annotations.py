"""Compare a value of a configuration with the type annotation of a constructor's argument.

The annotation is a syntax tree, read from the source (signatures.py), so that no module is imported.
"""

import ast
import math
from typing import Any

NAMES = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "text"}


def fits(annotation: ast.expr | None, value: Any) -> bool:
    """Tell whether a plain value (null, a number, text, a list, a mapping) fits an argument's annotation.

    A class or a callable takes a node with a _target_. An annotation that is not understood takes anything.
    """
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return fits(left, value) or fits(right, value)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="str"):
            return isinstance(value, str)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return value in _choices(choices)
        case ast.Subscript(value=ast.Name(id="list" | "Sequence"), slice=kind):
            return isinstance(value, list) and all(fits(kind, item) for item in value)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=kinds)):
            return isinstance(value, list) and len(value) == len(kinds) and all(map(fits, kinds, value))
        case ast.Subscript(value=ast.Name(id="dict" | "Mapping"), slice=ast.Tuple(elts=[_, kind])):
            return isinstance(value, dict) and "_target_" not in value and all(fits(kind, v) for v in value.values())
        case ast.Subscript(value=ast.Name(id="Callable")):
            return is_node(value)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name[:1].isupper() and name != "Any":
            return is_node(value)
    return True


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number with more digits than any float
        return False


def _choices(choices: ast.expr) -> tuple[Any, ...]:
    """Return the values of a Literal, which is no tuple if there is only one."""
    values = ast.literal_eval(choices)
    return values if isinstance(values, tuple) else (values,)


def is_node(value: Any) -> bool:
    """Tell whether a value is a node, a mapping with a _target_."""
    return isinstance(value, dict) and isinstance(value.get("_target_"), str)


def _is_any(annotation: ast.expr) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "Any"


def described(annotation: ast.expr | None) -> str:
    """Describe the values that fit an annotation, for an error message."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{described(left)} or {described(right)}"
        case ast.Constant(value=None):
            return "null"
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return " or ".join(_choices(choices))
        case ast.Subscript(value=ast.Name(id="list" | "Sequence"), slice=kind):
            return "a list" if _is_any(kind) else f"a list, each {described(kind)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=kinds)):
            return f"a list of {len(kinds)}, each {described(kinds[0])}"
        case ast.Subscript(value=ast.Name(id="dict" | "Mapping"), slice=ast.Tuple(elts=[_, kind])):
            return "a mapping" if _is_any(kind) else f"a mapping, each value {described(kind)}"
    return "a node with a _target_"
