"""Train a row of the lab book with a new seed, and say whether it comes out within the row's interval."""

from collections.abc import Sequence
from pathlib import Path

from inkwash.errors import UserError
from labbook import interval, page, results, runner
from labbook.study import ROOT, STUDIES, Study


def reproduce(recipe: str, local: Sequence[str], runs: Path = ROOT / "runs", studies: Path = STUDIES) -> bool:
    """Make a run of STUDY/ROW with the seed after the greatest, print each value beside its interval.

    Returns:
        False if the main metric of a measurement lies outside the interval of one more seed.

    Raises:
        UserError: there is no such row, or it was not measured with two seeds or more.
    """
    name, _, row = recipe.partition("/")
    study = Study.load(name, studies)
    row = row or (next(iter(study.rows)) if len(study.rows) == 1 else "")
    training = study.training(row, max(study.seeds) + 1)
    known = page.groups(study, [entry for entry in results.read(study, studies) if entry["row"] == row])
    metric = study.metrics[0]
    if not known or any(len(page.values(group, metric)) < 2 for group in known.values()):
        raise UserError(
            f"recipe={recipe} has no interval: it was measured with fewer than two seeds; make study study={name}"
        )
    runner.make(study, training, local, runs)
    within = True
    for key, group in page.groups(study, list(results.entries(study, training, local, runs))).items():
        expected = interval.of_next(page.values(known[key], metric))
        [value] = page.values(group, metric)
        assert expected is not None
        inside = expected[0] <= value <= expected[1]
        within &= inside
        print(
            f"{', '.join(map(str, key))}: {metric} {value:.4g}, {'within' if inside else 'OUTSIDE'} "
            f"{expected[0]:.3g} to {expected[1]:.3g} of {len(known[key])} seeds"
        )
    return within
