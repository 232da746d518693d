"""Every small error in the mathematics of a file, one at a time."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _both_ways(pairs: dict[Any, Any]) -> dict[Any, Any]:
    return pairs | {b: a for a, b in pairs.items()}


OPERATORS = _both_ways({ast.Add: ast.Sub, ast.Mult: ast.Div}) | {ast.Pow: ast.Mult}
COMPARISONS = _both_ways({ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Eq: ast.NotEq})
CALLED = _both_ways(
    {"sin": "cos", "min": "max", "minimum": "maximum", "floor": "ceil", "mean": "sum", "square": "sqrt", "exp": "log"}
)
BOUNDS = {"min": "max", "max": "min"}  # of clamp
NAMES = _both_ways({f"{symbol}_s": f"{symbol}_t" for symbol in ("alpha", "sigma", "x")} | {"s": "t"})
Function = ast.FunctionDef | ast.Lambda
Functions = tuple[Function, ...]  # the innermost last


@dataclass(frozen=True)
class Mutant:
    """One edit.

    Attributes:
        path, line: where it is.
        before, after: its statement.
        source: the whole file with the edit, every line in its place.
        function: first line of the function around it; None for what runs when the module is imported.
    """

    path: Path
    line: int
    before: str
    after: str
    source: str
    function: int | None


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield every edit of the code of a file, in order, errors and their conditions left alone."""
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    for node, functions in _mathematics(tree, ()):
        for change in _changes(node):
            if isinstance(node, ast.Name) and NAMES[node.id] not in _names(functions):
                continue  # a NameError proves nothing about the tests
            mutated = copy.deepcopy(node)
            change(mutated)
            edited = _spliced(source, node, mutated)
            before, after = (_statement(t, node.lineno) for t in (tree, ast.parse(edited)))
            yield Mutant(path, node.lineno, before, after, edited, _first_line(functions))


def _mathematics(tree: ast.AST, functions: Functions) -> Iterator[tuple[Any, Functions]]:
    """Yield nodes and the functions around each, without errors, warnings, and conditions that lead to one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.arguments):
            continue
        if isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in node.body):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            continue
        yield node, functions
        yield from _mathematics(node, (*functions, node) if isinstance(node, Function) else functions)


def _changes(node: ast.AST) -> Iterator[Callable[[Any], None]]:
    match node:
        case ast.BinOp() | ast.AugAssign() if type(node.op) in OPERATORS and not _of_text(node):
            yield lambda n: setattr(n, "op", OPERATORS[type(n.op)]())
            if isinstance(node, ast.BinOp) and ast.unparse(node.right) == "1" and type(node.op) in (ast.Add, ast.Sub):
                yield lambda n: setattr(n.right, "value", 0)
        case ast.UnaryOp(op=ast.USub()):
            yield lambda n: setattr(n, "op", ast.UAdd())
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield lambda n: setattr(n, "ops", [COMPARISONS[type(n.ops[0])]()])
        case ast.Call(func=ast.Attribute(attr=called)) if called in CALLED:
            yield lambda n: setattr(n.func, "attr", CALLED[n.func.attr])
        case ast.Call(func=ast.Name(id=called)) if called in ("min", "max"):
            yield lambda n: setattr(n.func, "id", BOUNDS[n.func.id])
        case ast.Call(func=ast.Attribute(attr="clamp"), keywords=[ast.keyword(arg=bound)]) if bound in BOUNDS:
            yield lambda n: setattr(n.keywords[0], "arg", BOUNDS[n.keywords[0].arg])
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield lambda n: setattr(n, "id", NAMES[n.id])


def _of_text(node: ast.BinOp | ast.AugAssign) -> bool:
    operands = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(isinstance(n, ast.JoinedStr) or isinstance(getattr(n, "value", None), str) for n in operands)


def _names(functions: Functions) -> set[str]:
    """Return the names that functions, one in the other, assign or are given."""
    inside = [*ast.walk(functions[0])] if functions else []
    names = {n.arg for n in inside if isinstance(n, ast.arg)}
    return names | {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _first_line(functions: Functions) -> int | None:
    """Return the line at which the innermost function's code object starts: that of its first decorator."""
    if not functions:
        return None
    return min([functions[-1].lineno, *(d.lineno for d in getattr(functions[-1], "decorator_list", []))])


def _spliced(source: str, node: Any, mutated: ast.AST) -> str:
    """Return the source with the mutated node in the place of the node, and every later line where it was."""
    lines = source.encode().splitlines(keepends=True)
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    blank = "\n" * (node.end_lineno - node.lineno)
    text = ast.unparse(mutated)
    text = f"({text}{blank})" if isinstance(node, ast.expr) else text + blank
    return (before + text.encode() + after).decode()


def _statement(tree: ast.AST, line: int) -> str:
    """Return the innermost statement that covers a line, on one line; of a block its head."""
    around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or 0)]
    innermost = sorted(around, key=lambda n: n.lineno)[-1]
    text = ast.unparse(innermost)
    return " ".join((text.partition("\n")[0] if hasattr(innermost, "body") else text).split())
