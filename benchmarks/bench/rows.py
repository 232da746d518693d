"""Rows of a benchmark's table: each has a measured value, its spread and its target."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.rounds import Side, Spread, Turn, interleave, ratios

PACKAGES = {"diffusers": ("diffusers", "accelerate"), "denoising-diffusion-pytorch": ("denoising_diffusion_pytorch",)}


@dataclass(frozen=True)
class Bench:
    """Settings that all parts of the benchmark share.

    Attributes:
        folder: for their files, which are not kept.
        cache: folder of Inkwash's cache, where a trained classifier stays.
        threads: CPU threads of each side.
        rounds, seconds: how many turns each side has, and about how long they are.
        quick: True for the smallest sizes, whose figures mean nothing.
        slow: True to measure the 35.7M network too.
        budgets: seconds of training whose quality is measured.
    """

    folder: Path
    cache: Path
    threads: int
    rounds: int
    seconds: float
    quick: bool = False
    slow: bool = False
    budgets: Sequence[float] = (20.0, 60.0)


@dataclass
class Row:
    """One line of a table.

    Attributes:
        part, case, side: what was measured, on what, of whom.
        value: what it took, in `unit`; None if it was not measured.
        ratio: the same as a multiple of what Inkwash took, in the same rounds: more than 1 where Inkwash is better.
        processor: that ratio by processor time, which other processes disturb less.
        peak: greatest resident memory, MiB.
        target: what was wanted, in words; empty if nothing was.
        measured: what that is compared with, in words; empty for the ratio or value.
        reached: whether it was; None if that is unknown.
        note: why there is no value, or what to know about it.
    """

    part: str
    case: str
    side: str
    value: Spread | None = None
    unit: str = "ms"
    ratio: Spread | None = None
    processor: Spread | None = None
    peak: float | None = None
    target: str = ""
    measured: str = ""
    reached: bool | None = None
    note: str = ""

    def wanted(self, target: str, reached: bool | None, measured: str = "") -> "Row":
        """Say what was wanted, whether it was reached, and by what."""
        self.target, self.reached, self.measured = target, reached, measured
        return self

    def at_least(self, ratio: float) -> "Row":
        """Want Inkwash to be so many times better in the median."""
        return self.wanted(f"at least {ratio:g}x", None if self.ratio is None else self.ratio.median >= ratio)

    def plain(self) -> dict[str, Any]:
        """The row as plain types."""
        return asdict(self)


def missing(side: str) -> str:
    """Return a sentence if a side, named after its package, is not installed; else nothing."""
    peer = side.partition(",")[0]
    absent = [name for name in PACKAGES.get(peer, ()) if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def compare(bench: Bench, part: str, case: str, sides: Sequence[Side], per: float = 1.0, unit: str = "ms") -> list[Row]:
    """Let sides take turns, the first of them Inkwash's; returns a row for each.

    Args:
        per: steps are worth so many of what is told: 50 if each draws a batch in 50 steps.
        unit: ms, of one of them.
    """
    here = [side for side in sides if not missing(side.name)]
    turns, failed = interleave(
        here, bench.folder / part / "".join(filter(str.isalnum, case)), bench.rounds, bench.seconds
    )
    reasons = failed | {side.name: missing(side.name) for side in sides if side not in here}
    ours = turns.get(sides[0].name)
    return [_row(part, case, side, turns.get(side.name), ours, per, unit, reasons.get(side.name, "")) for side in sides]


def _row(
    part: str, case: str, side: Side, turns: list[Turn] | None, ours: list[Turn] | None, per: float, unit: str, why: str
) -> Row:
    if not turns:
        return Row(part, case, side.name, unit=unit, note=why)
    value = Spread.of([1000 * turn.wall / per for turn in turns])
    of_ours = (None, None) if not ours else (ratios(ours, turns), ratios(ours, turns, "processor"))
    return Row(part, case, side.name, value, unit, *of_ours, peak=side.peak / 2**20)


def find(rows: Sequence[Row], side: str) -> Row:
    """Return the row of a side."""
    return next(row for row in rows if row.side == side)
