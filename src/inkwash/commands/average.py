"""`inkwash average run=DIR length=0.05,0.1`: measure averages of the weights of several lengths side by side.

The averages are made of the snapshots that callbacks=[default,posthoc] stores (runs/averages.py). This is
`inkwash evaluate run=DIR weights=ema,posthoc_0.05,posthoc_0.1`, and takes all that evaluate takes.
"""

import sys

from inkwash.commands import evaluate
from inkwash.errors import UserError
from inkwash.runs.averages import length_in, parts_of
from inkwash.runs.directory import RunDirectory

LENGTHS = "0.03,0.05,0.07,0.1,0.15,0.2"


def as_evaluation(words: list[str]) -> list[str]:
    """Return the words of the evaluation that measures the lengths, beside the average of the training.

    Raises:
        UserError: weights are named too, or a length is none.
    """
    given = [word.removeprefix("length=") for word in words if word.startswith("length=")]
    others = [word for word in words if not word.startswith("length=")]
    if any(word.startswith("weights=") for word in others):
        raise UserError("average names the weights itself: pass length=0.05,0.1, or use evaluate with weights=...")
    lengths = [length.strip() for length in (given[-1] if given else LENGTHS).strip("[]").split(",")]
    for length in lengths:
        if not length.replace(".", "", 1).isdecimal():
            raise UserError(f"length={length} must be a number, or several: length=0.05,0.1")
    return [*others, f"weights=ema,{','.join(f'posthoc_{length}' for length in lengths)}"]


def check_snapshots(words: list[str]) -> None:
    """Raise UserError if a run's snapshots give none of the averages that are asked for.

    Args:
        words: of the evaluation, run=NAME and weights=ema,posthoc_0.05,... among them.
    """
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if "run" not in given:
        return
    snapshots, mistakes = RunDirectory.find(given["run"]).snapshots, []
    lengths = [length for name in given["weights"].split(",") if (length := length_in(name)) is not None]
    for length in lengths:
        try:
            parts_of(snapshots, length)
        except UserError as error:
            mistakes.append(error)
    if len(mistakes) == len(lengths):
        raise mistakes[0]


def main() -> None:
    program, *words = sys.argv
    try:
        words = as_evaluation(words)
        check_snapshots(words)
        sys.argv = [program, *words]
    except UserError as error:
        sys.exit(f"error: {error}")
    evaluate.main()
