"""make bench: Inkwash beside its peers, in turns on one machine, as tables and plots in experiments/benchmarks/.

Sides run in processes of their own and take turns; see rounds.py. Peers that are not installed are rows that say so.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

from bench import machine, report
from bench.rounds import ROOT
from bench.rows import Bench, Row

PARTS = ("training", "sampling", "data", "start", "scaling", "evaluation", "quality")


def main(words: list[str] | None = None) -> None:
    """Measure the parts that are asked for, and write the report after each."""
    options = _parse(words)
    facts = {**machine.facts(), "title": "Inkwash beside its peers", "command": _command(sys.argv[1:])}
    before = machine.load()
    facts |= {"threads": options.threads, "rounds": options.rounds, "busy": machine.is_busy(before)}
    facts["quick"] = options.quick
    with tempfile.TemporaryDirectory(prefix="inkwash-bench-") as temporary:
        bench = Bench(
            Path(temporary), options.cache.resolve(), options.threads, options.rounds, options.seconds,
            quick=options.quick, slow=options.slow, budgets=options.budgets,
        )  # fmt: skip
        # Some parts do not replace the report of all.
        name = "results" if set(options.only) == set(PARTS) or options.quick else f"results-{'-'.join(options.only)}"
        rows: list[Row] = []
        for part in options.only:
            start = time.perf_counter()
            try:
                rows += importlib.import_module(f"bench.{part}").measure(bench)
            except Exception as error:  # half an hour of other parts is not lost by it
                rows.append(Row(part, "", "", note=f"{type(error).__name__}: {str(error)[:300]}"))
            print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            report.write(options.out, name, {**facts, "load": [before, machine.load()]}, rows)
    print((options.out / f"{name}.md").read_text())


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    add("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads of each side")
    add("--rounds", type=int, default=7, help="turns of each side")
    add("--seconds", type=float, default=1.5, help="about how long a turn is")
    add("--budgets", type=float, nargs="+", default=[20.0, 60.0], help="seconds of training for quality")
    add("--slow", action="store_true", help="the 35.7M network too: some minutes more")
    add("--quick", action="store_true", help="the smallest sizes: does everything run?")
    add("--out", type=Path, help="folder of the report: experiments/benchmarks, or runs/bench-quick with --quick")
    add("--cache", type=Path, default=ROOT / "data", help="folder of Inkwash's cache")
    options = parser.parse_args(words)
    options.out = options.out or ROOT / ("runs/bench-quick" if options.quick else "experiments/benchmarks")
    if options.quick:
        options.threads, options.rounds, options.seconds, options.budgets = 1, 2, 0.05, [0.2]
    return options


def _command(words: list[str]) -> str:
    return f'make bench ARGS="{" ".join(words)}"' if words else "make bench"


if __name__ == "__main__":
    main()
