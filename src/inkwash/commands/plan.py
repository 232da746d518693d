"""`inkwash plan ...`: say what `inkwash train ...` would take: parameters, memory, time here and on GPUs, cost.

price=2.5 is for the cost, in any currency for an hour of a GPU; share=0.4 for the share of its peak that is reached.
"""

import sys
from typing import Any

from inkwash.commands.export import one_sentence
from inkwash.commands.summary import describe
from inkwash.config import cli
from inkwash.errors import UserError
from inkwash.runs.command_line import from_run

# Of the peak, what a network of convolutions or attention reaches: an assumption, until a GPU has been measured.
SHARE = 0.3


def own_words(words: list[str]) -> tuple[list[str], dict[str, float | None]]:
    """Part price=... and share=... from what train takes.

    Raises:
        UserError: they are no positive numbers, or the share is above 1.
    """
    asked: dict[str, float | None] = {"price": None, "share": SHARE}
    others = []
    for word in words:
        key, _, value = word.partition("=")
        if key not in asked:
            others.append(word)
            continue
        try:
            asked[key] = float(value)
        except ValueError:
            asked[key] = 0.0
        if not 0 < (asked[key] or 0) < float("inf") or (key == "share" and float(value) > 1):
            wanted = "a number above 0, 1 at most" if key == "share" else "a number above 0, for an hour of a GPU"
            raise UserError(f"{word}: {key} must be {wanted}")
    return others, asked


def main() -> None:
    asked: dict[str, Any] = {}
    with one_sentence():
        sys.argv[1:] = from_run(sys.argv[1:])
        sys.argv[1:], asked = own_words(sys.argv[1:])
    cli.run(lambda config: describe(config, "inkwash.jobs.plan:show", {"plan": asked}), "train")
