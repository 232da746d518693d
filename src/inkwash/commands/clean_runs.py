"""`inkwash clean-runs`: list what runs that came to nothing have left, or delete it."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig, ListConfig

from inkwash.commands.export import one_sentence
from inkwash.commands.report import with_list
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.reports.run_list import cut, terminal_width
from inkwash.runs.cleaning import Leftover, delete, leftovers, mend_latest, named
from inkwash.runs.directory import RUNS


def clean_runs(config: DictConfig) -> None:
    """Print a line for each leftover with its size; delete them unless `dry`."""
    with one_sentence():
        check(config)
        names = list(config.runs) if isinstance(config.runs, ListConfig) else [config.runs]
        found = leftovers(RUNS) if config.runs is None else named(RUNS, [str(name) for name in names])
        if not found:
            print(f"nothing to delete: no run below {RUNS} came to nothing")
            return
        tell(found)
        total = megabytes(sum(leftover.size for leftover in found))
        if config.dry:
            print(f"{total} in {len(found)}; to delete them: the same command with dry=false")
            return
        kept = [leftover for leftover in found if not delete(leftover)]
        mend_latest(RUNS)
    for leftover in kept:
        print(f"{leftover.path}    left alone: it trains by now")
    print(f"deleted {len(found) - len(kept)} of them, {total}")


def tell(found: Sequence[Leftover]) -> None:
    """Print place, size and reason of each."""
    width = max(len(str(leftover.path)) for leftover in found)
    for leftover in found:
        line = f"{leftover.path!s:<{width}}  {megabytes(leftover.size):>9}  {leftover.why}"
        print(cut(line, terminal_width()))


def megabytes(size: int) -> str:
    """Return 1.2 MB for 1234567."""
    return f"{size / 1e6:.1f} MB"


def main() -> None:
    sys.argv[1:] = [with_list(argument) for argument in sys.argv[1:]]
    cli.run(clean_runs, "clean-runs")
