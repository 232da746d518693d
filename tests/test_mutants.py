"""`make mutants` breaks what it says, keeps every line in its place, and survives what a mutant does."""

import os
import signal
import time

import pytest

from support.mutants import forked
from support.mutants.edits import mutants
from support.mutants.outcomes import Kept
from support.mutants.trials import _codes, _exchanged, in_order

SOURCE = '''\
"""A module."""
SCALE = 2 * 3


def f(s, t, alpha_s, alpha_t):
    if s < 0:
        raise ValueError(f"{s - t}")
    total = (
        alpha_s
        + 1
    )
    return total ** 2, "a" + "b", x[-1], t.clamp(min=0)
'''
EXPECTED = [
    (2, None, "SCALE = 2 / 3"),
    (9, 5, "total = alpha_s - 1"),
    (9, 5, "total = alpha_s + 0"),
    (9, 5, "total = alpha_t + 1"),
    (12, 5, "return (total * 2, 'a' + 'b', x[-1], t.clamp(min=0))"),
    (12, 5, "return (total ** 2, 'a' + 'b', x[+1], t.clamp(min=0))"),
    (12, 5, "return (total ** 2, 'a' + 'b', x[-1], t.clamp(max=0))"),
    (12, 5, "return (total ** 2, 'a' + 'b', x[-1], s.clamp(min=0))"),
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(SOURCE, "utf-8")
    return path


def test_edits(file):
    found = list(mutants(file))
    assert [(m.line, m.function, m.after) for m in found] == EXPECTED
    assert {m.before for m in found if m.line == 9} == {"total = alpha_s + 1"}
    assert {len(m.source.splitlines()) for m in found} == {len(SOURCE.splitlines())}


def test_only_the_code_of_the_edited_function_is_exchanged(file):
    changed = {m.after: [code.co_name for code in _exchanged(m)] for m in mutants(file)}
    assert changed["total = alpha_s - 1"] == ["<module>", "f"]
    namespace = {}
    exec(compile(SOURCE, str(file), "exec"), namespace)
    (mutant,) = (m for m in mutants(file) if m.after == "total = alpha_s - 1")
    f = namespace["f"]
    assert f.__code__ in list(_codes(compile(SOURCE, str(file), "exec")))
    f.__code__ = _exchanged(mutant)[f.__code__]
    namespace["x"] = [0]
    with pytest.raises(AttributeError):
        f(1, 2, 3, 4)


def test_a_process_that_dies_costs_its_task_alone():
    def work(task: str) -> str:
        if task == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        while task == "loop":
            pass
        if task == "raise":
            raise ValueError
        return task * 2

    start = time.monotonic()
    found = dict(forked.results(["a", "crash", "loop", "raise", "b"], work, seconds=1))
    assert found == {"a": "aa", "crash": forked.DIED, "loop": forked.DIED, "raise": forked.DIED, "b": "bb"}
    assert time.monotonic() - start < 10


def test_outcomes_survive_an_interruption(tmp_path):
    kept = Kept(tmp_path / "outcomes.jsonl")
    kept.put("one", "stamp", None)
    kept.put("two", "stamp", "a test")
    kept.put("two", "stamp", "another")
    with kept.file.open("a") as file:
        file.write('["three", "sta')
    again = Kept(kept.file)
    assert (again.get("one"), again.get("two"), again.get("three")) == (("stamp", None), ("stamp", "another"), None)
    again.put("four", "stamp", 4)
    assert Kept(kept.file).get("four") == ("stamp", 4)


def test_the_nearest_and_quickest_tests_come_first(file):
    path = file.parent / "process" / "betas.py"
    seconds = {
        "tests/nets/test_dit.py::test_a": 0.1,
        "tests/process/test_betas.py::test_slow": 3.0,
        "tests/process/test_forward.py::test_b": 0.2,
        "tests/process/test_betas.py::test_d": 1.0,
        "tests/process/test_betas.py::test_c": 0.5,
    }
    assert [test.partition("::")[2] for test in in_order(path, seconds)] == [
        "test_c", "test_d", "test_b", "test_a", "test_slow",
    ]  # fmt: skip
