"""Train a row of the lab book with a new seed, and say whether it comes out within the row's interval."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from inkwash.errors import UserError
from labbook import interval, page, results, runner
from labbook.study import ROOT, STUDIES, Study


def reproduce(recipe: str, local: Sequence[str], runs: Path = ROOT / "runs", studies: Path = STUDIES) -> bool:
    """Make a run of STUDY/ROW with the first seed that has no run yet, print each value beside its interval.

    Returns:
        False if the main metric of a measurement lies outside the interval of one more seed.

    Raises:
        UserError: there is no such row, or it was not measured with two seeds or more.
    """
    name, _, row = recipe.partition("/")
    study = Study.load(name, studies)
    row = row or (next(iter(study.rows)) if len(study.rows) == 1 else "")
    runner.check_local(local)
    new = (study.training(row, seed) for seed in count(max(study.seeds) + 1))
    training = next(each for each in new if not (runs / each.run).exists())
    known = page.groups(study, [entry for entry in results.read(study, studies) if entry["row"] == row])
    metric = study.metrics[0]
    if not known or any(len(page.values(group, metric)) < 2 for group in known.values()):
        how = "" if len(study.seeds) > 1 else f"add some to `seeds` in experiments/studies/{name}/study.yaml, and "
        raise UserError(
            f"recipe={recipe} has no interval: it was measured with fewer than two seeds; {how}make study study={name}"
        )
    runner.make(study, training, local, runs)
    within, found = True, page.groups(study, list(results.entries(study, training, runs)))
    if not found:
        raise UserError(f"runs/{training.run} was stopped before its end: the same command goes on with a new seed")
    for key, group in found.items():
        line, inside = compare(", ".join(map(str, key)), known.get(key, []), group, metric)
        print(line)
        within &= inside
    return within


def compare(name: str, before: Sequence[results.Entry], now: Sequence[results.Entry], metric: str) -> tuple[str, bool]:
    """Say how a measurement of one more seed lies to the interval of those before, and whether it lies within.

    Distances are compared in floors: the judge of this machine may be another than that of the seeds before.

    Raises:
        UserError: two measurements before and one now are needed.
    """
    values, unit = page.comparable([*before, *now], metric)
    if len(before) < 2 or len(values) != len(before) + len(now):
        raise UserError(f"{name} was not measured with {metric} before, or not now: make study study=NAME")
    *known, value = values
    low, high = interval.of_next(known) or (value, value)
    inside = low <= value <= high
    verdict = "within" if inside else "OUTSIDE"
    return f"{name}: {value:.4g} {unit}, {verdict} {low:.3g} to {high:.3g} of {len(known)} seeds", inside
