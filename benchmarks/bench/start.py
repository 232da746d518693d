"""From the command to the end of the first step, and to the sentence about a mistake; in turns, files in the cache."""

import subprocess
import sys
import time

from bench.cases import DIGITS, TINY
from bench.rounds import Side, SideError, Spread
from bench.rows import Bench, Row, missing
from bench.training import peers, product

MISTAKE = [sys.executable, "-m", "inkwash", "train", "model.chanels=3"]


def measure(bench: Bench) -> list[Row]:
    """Return the seconds of each side's start, over as many rounds."""
    case = TINY if bench.quick else DIGITS
    prepared = case.prepared(bench.folder / "cases" / "start")
    wanted = ("plain loop", "diffusers", "denoising-diffusion-pytorch")
    sides = [product("Inkwash", bench, prepared.overrides)]
    sides += [side for side in peers(bench, prepared) if side.name in wanted]
    seconds: dict[str, list[float]] = {}
    notes = {side.name: missing(side.name) for side in sides}
    for i in range(min(3, bench.rounds)):
        for j, side in enumerate(sides):
            if not notes[side.name]:
                try:
                    seconds.setdefault(side.name, []).append(_first_step(side, bench.folder / "start" / f"{i}{j}"))
                except SideError as error:
                    notes[side.name] = str(error)
    rows = [_row(side.name, seconds.get(side.name), seconds.get("Inkwash"), notes[side.name]) for side in sides]
    if rows[0].value:
        rows[0].wanted("at most 5 s", rows[0].value.median <= 5)
    mistakes = [_seconds(MISTAKE) for _ in range(3)]
    row = Row("start", "a mistake in the configuration", "Inkwash", Spread.of(mistakes), "s")
    return [*rows, row.wanted("at most 0.5 s", row.value is not None and row.value.median <= 0.5)]


def _row(name: str, seconds: list[float] | None, ours: list[float] | None, note: str) -> Row:
    if not seconds:
        return Row("start", "first step", name, unit="s", note=note)
    ratio = Spread.of([b / a for a, b in zip(ours, seconds, strict=False)]) if ours else None
    return Row("start", "first step", name, Spread.of(seconds), "s", ratio, note=note)


def _first_step(side: Side, folder) -> float:
    """Return the seconds from the command to the end of the first step."""
    side.start(folder)
    try:
        side.wait()
        side.take(1)
        return time.perf_counter() - side.started
    finally:
        side.close()


def _seconds(command: list[str]) -> float:
    """Return how long a command takes that is to fail."""
    start = time.perf_counter()
    done = subprocess.run(command, env=Side("", command, 1).variables(), capture_output=True, text=True)
    assert done.returncode, "a mistake was not noticed"
    assert "chanels" in done.stderr, done.stderr
    return time.perf_counter() - start
