"""Counts of what the robustness tests tried, printed when they are over."""

from collections import Counter

COUNTS: Counter[str] = Counter()


def count(name, by=1):
    COUNTS[name] += by


def lines():
    return [f"{number:8,}  {name}" for name, number in COUNTS.items()]
