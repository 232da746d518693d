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
        raise UserError(
            f"recipe={recipe} has no interval: it was measured with fewer than two seeds; make study study={name}"
        )
    runner.make(study, training, local, runs)
    within = True
    for key, group in page.groups(study, list(results.entries(study, training, runs))).items():
        before, now = page.values(known.get(key, []), metric), page.values(group, metric)
        expected = interval.of_next(before) if before else None
        if expected is None or not now:
            raise UserError(
                f"{', '.join(map(str, key))} was not measured with {metric} before: make study study={name}"
            )
        [value] = now
        inside = expected[0] <= value <= expected[1]
        within &= inside
        print(
            f"{', '.join(map(str, key))}: {metric} {value:.4g}, {'within' if inside else 'OUTSIDE'} "
            f"{expected[0]:.3g} to {expected[1]:.3g} of {len(before)} seeds"
        )
    return within
