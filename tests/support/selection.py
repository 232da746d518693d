"""Parameters of a test of which some run in the quick suite, and all in the slow one."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest


def mostly_slow(cases: Mapping[str, Any] | Iterable[str], *quick: str) -> list[Any]:
    """Return parameters named by their keys, or by themselves; all but `quick` are marked slow."""
    named = cases if isinstance(cases, Mapping) else {name: name for name in cases}
    assert named.keys() >= set(quick), "a name that is marked quick exists"
    return [
        pytest.param(case, id=name, marks=[] if name in quick else [pytest.mark.slow]) for name, case in named.items()
    ]
