"""Break the mathematics in every small way there is and see whether the tests notice: `make mutants`.

Each mutant is one edit: a sign flipped, a product turned into a quotient, an index shifted by one, alpha_s or sigma_s
swapped for alpha_t or sigma_t, s for t. The tests of the process, the samplers and the likelihood run against each in a
forked process, which has torch loaded already; what survives is listed in experiments/mutants/README.md.
"""

import ast
import copy
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "inkwash"
REPORT = ROOT / "experiments" / "mutants" / "README.md"
FILES = [
    *(PACKAGE / "process" / f"{name}.py" for name in ("betas", "schedules", "forward", "predictions", "variances")),
    *(PACKAGE / "process" / f"{name}.py" for name in ("spacing", "weightings")),
    *(path for path in sorted((PACKAGE / "samplers").glob("*.py")) if path.stem not in ("__init__", "generate")),
    *sorted((PACKAGE / "likelihood").glob("[!_]*.py")),
    *(PACKAGE / "nets" / f"{name}.py" for name in ("magnitude", "layout", "song_blocks")),
    PACKAGE / "data" / "augment.py",
]
TESTS = ["process", "losses", "test_denoiser.py", "likelihood", "samplers", "nets", "data/test_augment.py"]
CPU_SECONDS = 300  # of a child; all tests take about 60. Seconds of a clock would call a busy machine a caught mutant
PATIENCE = 3600  # with a child that waits for what never comes
SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
PAIRS = {f"{a}_{x}": f"{a}_{y}" for a in ("alpha", "sigma", "x") for x, y in ("st", "ts")} | {"s": "t", "t": "s"}


@dataclass
class Mutant:
    """One edit: the file, its line before and after, and the whole source with it."""

    path: Path
    line: int
    before: str
    after: str
    source: str


def mutants(path: Path) -> Iterator[Mutant]:
    """Every edit of the code of a file, in order, errors and their conditions left alone."""
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    known = _names_in_reach(tree)
    for index, node in enumerate(_mathematics(tree)):
        for change in _changes(node):
            if isinstance(node, ast.Name) and PAIRS[node.id] not in known[node]:
                continue  # a NameError proves nothing about the tests
            mutated = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(_mathematics(mutated)) if i == index)
            change(target)
            line = node.lineno  # pyright: ignore[reportAttributeAccessIssue]
            before, after = (_statement(t, line) for t in (tree, mutated))
            if before != after:
                yield Mutant(path, line, before, after, ast.unparse(mutated))


def _names_in_reach(tree: ast.AST) -> dict[ast.AST, set[str]]:
    """For every node inside a function, the names that the function assigns or is given."""
    known = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            inside = [*ast.walk(function)]
            names = {n.arg for n in inside if isinstance(n, ast.arg)}
            names |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            known |= {node: names | known.get(node, set()) for node in inside}
    return known


def _mathematics(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of function bodies, without raised errors, warnings, conditions that lead to one, and annotations."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.arguments):
            continue
        if isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in node.body):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            continue
        yield node
        yield from _mathematics(node)


def _changes(node: ast.AST) -> Iterator:
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS and not _of_types(node):
        yield lambda n: setattr(n, "op", SWAPS[type(n.op)]())
        if isinstance(node.right, ast.Constant) and node.right.value == 1 and isinstance(node.op, ast.Add | ast.Sub):
            yield lambda n: setattr(n.right, "value", 0)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda n: setattr(n, "op", ast.UAdd())
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in PAIRS:
        yield lambda n: setattr(n, "id", PAIRS[n.id])


def _of_types(node: ast.BinOp) -> bool:
    return isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)


def _statement(tree: ast.AST, line: int) -> str:
    """The innermost statement that starts at or before a line and covers it, on one line."""
    best = None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            best = node if best is None or node.lineno >= best.lineno else best
    assert best is not None
    return " ".join(ast.unparse(best).split())


def survives(mutant: Mutant) -> bool:
    """Return True if all tests pass with the mutant. A crash, a hang and a failure all count as noticed."""
    with tempfile.TemporaryDirectory() as where:
        shutil.copytree(ROOT / "src", Path(where) / "src")
        shutil.copytree(ROOT / "conf", Path(where) / "conf")
        shutil.copytree(ROOT / "tests", Path(where) / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        (Path(where) / "src" / mutant.path.relative_to(ROOT / "src")).write_text(mutant.source, "utf-8")
        pid = os.fork()
        if pid == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            os._exit(_run_tests(Path(where), mutant.path))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status == 0
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return False


def _run_tests(where: Path, mutated: Path) -> int:
    """In the forked child: the tests against the copy, those of the mutated file's kind first, to the first failure."""
    import pytest

    out = os.open(where / "out.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(where)
    sys.path[:0] = [str(where / "src"), str(where / "tests"), str(where)]
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    nearest = sorted(TESTS, key=lambda name: mutated.parent.name not in name)
    arguments = [
        "-x", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", str(where), "-c", os.devnull,
        "-m", "not slow",
    ]  # fmt: skip
    return int(pytest.main([*arguments, *(str(where / "tests" / name) for name in nearest)]))


def main(names: list[str]) -> int:
    # Everything that is not ours is imported once, before the forks: it takes longer than most tests.
    for name in ("torch", "diffusers", "scipy.stats", "hydra", "lightning", "torchmetrics", "torchvision", "pytest"):
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    assert "inkwash" not in sys.modules, "a forked child must import its own copy"
    chosen = [path for path in FILES if not names or path.stem in names]
    every = [mutant for path in chosen for mutant in mutants(path)]
    pristine = Mutant(FILES[0], 0, "", "", FILES[0].read_text("utf-8"))
    if not survives(pristine):
        print("the tests fail without any mutant: nothing to learn", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = []
        for mutant, lives in zip(every, pool.map(survives, every), strict=True):
            outcomes.append(lives)
            mark = "SURVIVED" if lives else "caught"
            print(f"{mark:9}{mutant.path.stem}:{mutant.line}  {mutant.after[:110]}", flush=True)
    caught = outcomes.count(False)
    print(f"{caught} of {len(every)} mutants caught: {caught / len(every):.1%}")
    if not names:
        write_report(every, outcomes)
    return 0 if caught >= 0.95 * len(every) else 1


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def write_report(every: list[Mutant], outcomes: list[bool]) -> None:
    lines = [
        "# Mutants",
        "",
        "Written by `make mutants`: the mathematics broken in one place at a time (a sign, a quotient, an index",
        f"shifted by one, s for t), and whether the tests notice. Lines are those of commit {commit()}.",
        "",
        "| file | mutants | caught |",
        "|---|---|---|",
    ]
    for path in FILES:
        mine = [lives for mutant, lives in zip(every, outcomes, strict=True) if mutant.path == path]
        lines.append(f"| {path.relative_to(PACKAGE)} | {len(mine)} | {mine.count(False)} |")
    caught = outcomes.count(False)
    lines += [f"| **all** | {len(every)} | {caught} = {caught / len(every):.1%} |", "", "Not caught:", ""]
    for mutant, lives in zip(every, outcomes, strict=True):
        if lives:
            lines.append(f"- {mutant.path.relative_to(PACKAGE)}:{mutant.line}: `{mutant.before}` -> `{mutant.after}`")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
