"""`make mutants`, or of some files alone: `make mutants ARGS="betas schedules"`."""

import importlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from support.mutants import forked, report
from support.mutants.edits import Mutant, mutants
from support.mutants.files import FILES, PACKAGE, ROOT, TESTS, name
from support.mutants.outcomes import FOLDER, Kept, key_of, stamp_of_sources, stamp_of_tests
from support.mutants.trials import Session, afresh, in_order

LIMIT = 300  # seconds of a processor for a mutant: many times what its tests take
LEAST = 0.98  # of the mutants that change a result


def calls_of_tests(session: Session) -> dict[str, dict]:
    """Return what each test calls and how long it takes; tests that fail without any mutant are left out."""
    kept, sources, known = Kept(FOLDER / "calls.jsonl"), stamp_of_sources(), {}
    stamps = {test: stamp_of_tests({test}) + sources for test in session.items}
    for test, stamp in stamps.items():
        if (found := kept.get(test)) and found[0] == stamp:
            known[test] = found[1]
    for test, found in forked.results([t for t in session.items if t not in known], session.record, LIMIT):
        known[test] = {"calls": [], "seconds": 0.0, "failed": True} if found == forked.DIED else found
        kept.put(test, stamps[test], known[test])
    for test in (test for test, found in known.items() if found["failed"]):
        print(f"{test} fails without any mutant: left out", file=sys.stderr)
    return {test: found for test, found in known.items() if not found["failed"]}


class Judge:
    """Decides which tests a mutant has to pass, and lets it try."""

    def __init__(self, session: Session, calls: dict[str, dict]):
        self.session = session
        # The tests that call a function, by its file and first line, and those that call any of a file, with None.
        self.callers: defaultdict[tuple[str, int | None], dict[str, float]] = defaultdict(dict)
        for test, found in calls.items():
            for file, line in found["calls"]:
                self.callers[file, line][test] = self.callers[file, None][test] = found["seconds"]

    def tests(self, mutant: Mutant, function: int | None) -> list[str]:
        """Return the tests that call a function of the mutant's file, in order."""
        return in_order(mutant.path, self.callers[name(mutant.path), function])

    def noticed(self, mutant: Mutant) -> str | None:
        """Return the test that notices the mutant."""
        if not (tests := self.tests(mutant, mutant.function)):
            return None
        return afresh(mutant, tests) if mutant.function is None else self.session.attempt(mutant, tests)


def judged(session: Session, every: list[Mutant]) -> Iterator[tuple[Mutant, str | None]]:
    """Yield each mutant with the test that notices it, None if none does."""
    judge, kept = Judge(session, calls_of_tests(session)), Kept(FOLDER / "outcomes.jsonl")

    def stamp(mutant: Mutant, by: str | None) -> str:
        # A test that noticed it will again, until it is changed; what all missed a new or changed one may notice.
        return stamp_of_tests({by} if by in session.items else {*judge.tests(mutant, mutant.function)})

    left = []
    for mutant in every:
        before, by = kept.get(key_of(mutant)) or ("", None)
        if before == stamp(mutant, by):
            yield mutant, by
        else:
            left.append(mutant)
    for mutant, by in forked.results(left, judge.noticed, LIMIT):
        kept.put(key_of(mutant), stamp(mutant, by), by)
        print(f"{by or 'SURVIVED':80} {name(mutant.path)}:{mutant.line}  {mutant.after[:110]}", flush=True)
        yield mutant, by


def main(names: list[str]) -> int:
    # Everything that is not ours is imported once, before the forks: it takes longer than most tests.
    for module in ("torch", "diffusers", "scipy.stats", "hydra", "lightning", "torchmetrics", "torchvision"):
        importlib.import_module(module)
    sys.modules["torch"].set_num_threads(1)
    sys.path[:0] = [str(PACKAGE.parent)]
    os.chdir(ROOT)
    every = [mutant for path in FILES if not names or path.stem in names for mutant in mutants(path)]
    found: dict[Mutant, str | None] = {}

    def work(session: Session) -> None:
        found.update(judged(session, every))

    status = Session(work)([Path("tests") / test for test in TESTS])
    if status or len(found) < len(every):
        return status or 1
    verdicts = report.Verdicts({mutant: found[mutant] for mutant in every})
    print(f"{len(every)} mutants, {len(verdicts.harmless)} change no result, {len(verdicts.missed)} missed:")
    for mutant in verdicts.missed:
        print(f"  {name(mutant.path)}:{mutant.line}  {mutant.before}  ->  {mutant.after}")
    for mistake in (mistakes := verdicts.mistakes()):
        print(mistake, file=sys.stderr)
    if not names:
        report.write(verdicts)
    return 0 if len(verdicts.missed) <= (1 - LEAST) * len(every) and not mistakes else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
