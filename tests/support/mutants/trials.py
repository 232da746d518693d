"""Run the tests against a mutant: those that call the broken function, the nearest and quickest first."""

import gc
import importlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from support.mutants import forked
from support.mutants.edits import Mutant
from support.mutants.files import FILES, PACKAGE, ROOT, distance, name

NAMES = {str(path): name(path) for path in FILES}
SLOW = 2.0  # seconds of a test that comes after all that are quicker
PATIENCE = 20.0  # seconds of tests for one mutant
COSTLY = {"classifier"}  # fixtures that train for half a minute, which every fork would do for itself


class Session:
    """The tests, imported once; a plugin of pytest that hands them to `work` instead of running them.

    Attributes:
        items: the tests by name.
    """

    def __init__(self, work: Any):
        self.work, self.items, self.failed = work, {}, None

    def __call__(self, paths: Iterable[Path]) -> int:
        addopts = "addopts=--import-mode=importlib -m 'not slow'"
        options = ["-q", "-s", "-p", "no:cacheprovider", "-o", addopts]
        return int(pytest.main([*options, *map(str, paths)], plugins=[self]))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items if not COSTLY & {*item.fixturenames}}
        for path in FILES:  # a configuration's `_target_` would import some later, and whole
            importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        loaded = [f for f in gc.get_objects() if type(f) is FunctionType]  # isinstance would ask proxies for more
        self.functions = [f for f in loaded if f.__code__.co_filename in NAMES]
        self.work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid

    def run(self, tests: list[str]) -> str | None:
        """Run tests up to the first that fails, and return its name."""
        for test, following in zip(tests, [*tests[1:], None], strict=True):
            _seed()  # whichever ran before
            item, then = self.items[test], following and self.items[following]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=then)
            if self.failed:
                break
        return self.failed

    def record(self, test: str) -> dict[str, Any]:
        """Return the functions of FILES that a test calls (file, first line), its seconds, and whether it fails."""
        calls: set[tuple[str, int]] = set()

        def trace(frame: FrameType, event: str, arg: object) -> None:
            if frame.f_code.co_filename in NAMES:
                calls.add((NAMES[frame.f_code.co_filename], frame.f_code.co_firstlineno))

        sys.settrace(trace)  # for good: the process ends with the test
        threading.settrace(trace)
        start = time.process_time()
        failed = self.run([test])
        return {"calls": sorted(calls), "seconds": time.process_time() - start, "failed": failed is not None}

    def attempt(self, mutant: Mutant, tests: list[str]) -> str | None:
        """Run tests with the code of a function exchanged, and return the name of the one that fails."""
        exchanged = _exchanged(mutant)
        for function in self.functions:
            if function.__code__.co_filename == str(mutant.path):
                function.__code__ = exchanged.get(function.__code__, function.__code__)
        return self.run(tests)


def _exchanged(mutant: Mutant) -> dict[CodeType, CodeType]:
    """Map the code objects that a mutant changes to the changed ones."""
    texts = (mutant.path.read_text("utf-8"), mutant.source)
    old, new = (_codes(compile(text, str(mutant.path), "exec", dont_inherit=True)) for text in texts)
    return {a: b for a, b in zip(old, new, strict=True) if a != b}


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _seed() -> None:
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def afresh(mutant: Mutant, tests: list[str]) -> str | None:
    """Run tests in a new interpreter, for a mutant whose code runs when modules are imported."""
    with tempfile.TemporaryDirectory() as where:
        for folder in ("src", "conf"):
            shutil.copytree(ROOT / folder, Path(where) / folder, ignore=shutil.ignore_patterns("__pycache__"))
        (Path(where) / mutant.path.relative_to(ROOT)).write_text(mutant.source, "utf-8")
        environment = {**os.environ, "PYTHONPATH": f"{where}/src", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else forked.DIED


def in_order(path: Path, tests: dict[str, float]) -> list[str]:
    """Return those tests, given with their seconds, that are to notice an error in a file: the likeliest first.

    There are more than a thousand that call a network somewhere; they count up to PATIENCE.
    """
    ordered = sorted(tests, key=lambda test: (tests[test] > SLOW, distance(path, test), tests[test], test))
    until = accumulate(tests[test] for test in ordered)
    return [test for test, seconds in zip(ordered, until, strict=True) if seconds <= PATIENCE or test == ordered[0]]
