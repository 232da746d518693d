"""Quality against wall-clock on digits: each side trains for some seconds, draws, and is judged by Inkwash's metric.

A budget is turned into steps by timing some first, because the learning rate's schedule needs their number. All draw in
50 steps of DDIM as many images as there are for training. The judge is the Frechet distance to the held-out digits in
the features of the data set's classifier; that of the training images, the floor, is a row too.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import DIGITS, TINY, Prepared
from bench.rounds import Side, SideError, Spread, interleave, loop
from bench.rows import Bench, Row, missing
from bench.training import product

UNIT = "distance"
LONGEST = 900.0  # seconds of a command


@dataclass(frozen=True)
class Plan:
    """Settings of the quality comparison: data, seconds of training, evaluation."""

    bench: Bench
    case: Prepared
    draws: int
    sampling_steps: int


def measure(bench: Bench) -> list[Row]:
    """Return a row for each side and budget."""
    case = (TINY if bench.quick else DIGITS).prepared(bench.folder / "cases" / "quality")
    plan = Plan(bench, case, *((100, 3) if bench.quick else (len(list(case.images.iterdir())), 50)))
    rows = [_floor(plan)]
    for side in _sides(bench, case):
        why = missing(side.name)
        if why:
            rows.append(Row("quality", "", side.name, unit=UNIT, note=why))
            continue
        turns, failed = interleave([side], bench.folder / "quality/timing", 1, 0.2 if bench.quick else 2.0)
        for budget in bench.budgets if side.name in turns else ():
            steps = max(5, round(budget / turns[side.name][0].wall))
            rows.append(_judged(plan, side, budget, steps))
        rows += [Row("quality", "", side.name, unit=UNIT, note=why) for why in failed.values()]
    return rows


def _sides(bench: Bench, case: Prepared) -> list[Side]:
    peers = (("diffusers", "diffusers"), ("denoising-diffusion-pytorch", "lucidrains"))
    ours = {"": (), ", without classes": ("model.num_classes=null",)}
    sides = [product(f"Inkwash{name}", bench, (*case.overrides, *words)) for name, words in ours.items()]
    sides += [loop(name, kind, bench.threads, **case.options) for name, kind in peers]
    faster = [loop(f"{name}, lr 2e-3", kind, bench.threads, lr=2e-3, **case.options) for name, kind in peers]
    return sides if bench.quick else sides + faster


def _judged(plan: Plan, side: Side, budget: float, steps: int) -> Row:
    """Train for some steps, draw and measure."""
    row = Row("quality", f"{budget:g} s", side.name, unit=UNIT)
    folder = plan.bench.folder / "quality" / "".join(filter(str.isalnum, f"{side.name}{budget:g}"))
    images = folder / "images"
    images.mkdir(parents=True)
    try:
        ours = side.name.startswith("Inkwash")
        seconds = (_ours if ours else _theirs)(plan, side, steps, folder, images)
        distance = _distance(plan, folder, folder / "drawn/images" if ours else images)
    except SideError as error:
        row.note = str(error)
        return row
    row.value = Spread.of([distance])
    row.note = f"{steps:,} steps in {seconds:.0f} s"
    return row


def _ours(plan: Plan, side: Side, steps: int, folder: Path, images: Path) -> float:
    without_gate = [word for word in side.command if "bench.callback" not in word and word != "~callbacks.checkpoint"]
    _run(side, [*without_gate, "run=run", f"trainer.max_steps={steps}"], folder)
    draw = ("run=run", f"num_images={plan.draws}", "guidance=1", f"spacing.steps={plan.sampling_steps}", "out=drawn")
    _run(side, [sys.executable, "-m", "inkwash", "sample", *draw], folder)
    summary = json.loads((folder / "runs/run/summary.json").read_text())
    return summary["seconds"] - summary["seconds_outside_training"]


def _theirs(plan: Plan, side: Side, steps: int, folder: Path, images: Path) -> float:
    kind, options = side.command[-2], json.loads(side.command[-1])
    options |= {"steps": steps, "draws": plan.draws, "sampling_steps": plan.sampling_steps, "out": str(images)}
    said = _run(side, [sys.executable, "-m", "bench.trained", kind, json.dumps(options)], folder)
    return json.loads(said.splitlines()[-1])["seconds"]


def _distance(plan: Plan, folder: Path, images: Path) -> float:
    """Return the Frechet distance of a folder's images, by `inkwash evaluate`."""
    number = len(list(images.iterdir()))
    words = [f"images={images}", f"num_images={number}", "data=digits", "extractor=classifier", "metrics=[fid]"]
    words.append(f"out={folder / 'measured'}")
    side = Side("evaluation", (), plan.bench.threads, {"INKWASH_DATA": str(plan.bench.cache)})
    _run(side, [sys.executable, "-m", "inkwash", "evaluate", *words], folder)
    [row] = json.loads((folder / "measured/table.json").read_text())
    return next(value for name, value in _values(row).items() if name.startswith("fd_"))


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return row.get("metrics", row)


def _floor(plan: Plan) -> Row:
    """Return the row of real training images, as many as are drawn or there are."""
    folder = plan.bench.folder / "quality/floor"
    folder.mkdir(parents=True)
    try:
        distance = _distance(plan, folder, plan.case.images)
    except SideError as error:
        return Row("quality", "", "training images", unit=UNIT, note=str(error))
    return Row("quality", "", "training images", Spread.of([distance]), UNIT, note="the floor")


def _run(side: Side, command: Sequence[str], folder: Path) -> str:
    """Run a command to its end; returns what it printed. Raises SideError if it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=side.variables(), capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired as error:
        raise SideError(f"{side.name}: not done after {error.timeout:.0f} s") from None
    if done.returncode:
        raise SideError(f"{side.name}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1][:300]}")
    return done.stdout
