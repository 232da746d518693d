"""A training step: Inkwash as shipped and in each of its modes, against peers as shipped and on the same network."""

import sys
from collections.abc import Sequence

from bench.cases import ADAMW, CIFAR, DIGITS, SMALL, TINY, WITHOUT, Case, Prepared
from bench.machine import cpu_info
from bench.rounds import Side, Spread, loop
from bench.rows import Bench, Row, compare, find

GATE = "+callbacks.gate._target_=bench.callback.GateCallback"
MODES = {
    "float32": ("trainer.precision=32-true", "trainer.memory_format=contiguous"),
    "float32, channels_last": ("trainer.precision=32-true", "trainer.memory_format=channels_last"),
    "bf16": ("trainer.precision=bf16-mixed", "trainer.memory_format=contiguous"),
}
# Sides of the 35.7M network: those that its targets are about.
FEW = ("Inkwash", "Inkwash, float32", "diffusers, images in memory", "denoising-diffusion-pytorch")


def product(name: str, bench: Bench, overrides: Sequence[str], threads: int | None = None) -> Side:
    """Return `inkwash train` with a gate in it."""
    command = [sys.executable, "-m", "inkwash", "train", *overrides, *WITHOUT, GATE]
    return Side(name, command, threads or bench.threads, {"INKWASH_DATA": str(bench.cache)})


def peers(bench: Bench, case: Prepared) -> list[Side]:
    """Return the loops of others, on this case."""

    def side(name: str, kind: str, **options: object) -> Side:
        return loop(name, kind, bench.threads, **case.options, **options)

    return [
        side("plain loop", "plain"),
        side("diffusers", "diffusers"),
        side("diffusers, images in memory", "diffusers", in_memory=True),
        side("denoising-diffusion-pytorch", "lucidrains"),
        side("denoising-diffusion-pytorch, Inkwash's network", "lucidrains", same_network=True),
    ]


def measure(bench: Bench) -> list[Row]:
    """Return the rows of every workload."""
    if bench.quick:
        return _case(bench, TINY)
    return [row for case in (DIGITS, SMALL, *([CIFAR] if bench.slow else [])) for row in _case(bench, case)]


def _case(bench: Bench, case: Case) -> list[Row]:
    prepared = case.prepared(bench.folder / "cases" / "".join(filter(str.isalnum, case.name)))
    modes = [mode for mode in MODES if mode == "float32" or not bench.quick]
    if "avx512_bf16" not in cpu_info().get("flags", "").split():
        modes = [mode for mode in modes if mode != "bf16"]  # without instructions for it thirty times slower
    sides = [product("Inkwash", bench, prepared.overrides)]
    sides += [product(f"Inkwash, {mode}", bench, (*prepared.overrides, *MODES[mode])) for mode in modes]
    if case is DIGITS:  # the peers have it, and Muon takes longer for a step
        sides.append(product("Inkwash with AdamW", bench, (*prepared.overrides, ADAMW)))
    sides += peers(bench, prepared)
    if case is CIFAR:  # all sides are there at once, and each takes 3 GB
        sides = [side for side in sides if side.name in FEW]
    rows = compare(bench, "training", case.name, sides)
    if case is DIGITS:
        find(rows, "diffusers").at_least(1.15)
        find(rows, "denoising-diffusion-pytorch").at_least(2.5)
    if case is CIFAR:
        _same_precision(rows)
    _best_of_modes(rows)
    return rows + _memory(rows)


def _same_precision(rows: list[Row]) -> None:
    """Want float32 to be 1.1 times as fast as diffusers' loop, which is in float32, with images in memory as ours."""
    ours, theirs = find(rows, "Inkwash, float32"), find(rows, "diffusers, images in memory")
    if ours.ratio and theirs.ratio:
        ratio = theirs.ratio.median / ours.ratio.median
        theirs.wanted("at least 1.1x of float32", ratio >= 1.1, f"{ratio:.3g}x")


def _best_of_modes(rows: list[Row]) -> None:
    """Want the mode that was chosen to be the best, but for 2%."""
    ratios = {row.side: row.ratio.median for row in rows if row.side.startswith("Inkwash, ") and row.ratio}
    if ratios:
        best = min(ratios, key=lambda side: ratios[side])
        rows[0].wanted("at least 0.98 of its best mode", ratios[best] >= 0.98, f"{ratios[best]:.3g} of {best}")


def _memory(rows: list[Row]) -> list[Row]:
    """Return a row on whether Inkwash takes no more memory than the leanest peer."""
    peers = {row.side: row.peak for row in rows if row.peak and not row.side.startswith(("Inkwash", "plain"))}
    row, ours = Row("memory", rows[0].case, "Inkwash", unit="MiB", note="no peer to compare with"), rows[0].peak
    reached, measured = None, ""
    if ours:
        row.value = Spread.of([ours])
    if peers and ours:
        leanest = min(peers, key=lambda side: peers[side])
        row.note = f"the leanest peer is {leanest}"
        reached, measured = ours <= peers[leanest], f"{ours / peers[leanest]:.3g} of it"
    return [row.wanted("at most the leanest peer's", reached, measured)]
