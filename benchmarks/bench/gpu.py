"""make bench-gpu: images a second of the 35.7M network on one GPU, beside each peer's best; sampling; evaluation.

One process, sides in turns, under eight minutes: what there is no time for, or no GPU, or no memory, is a row that says
so. The most telling comparisons come first, and the report is written after each. `--device cpu --tiny` tries the
program where there is no GPU; its figures mean nothing.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import gpu_extras, gpu_steps, machine, report
from bench.rounds import ROOT, Spread
from bench.rows import Row, missing

ROUNDS, SECONDS = 5, 0.4  # turns of a side, and about how long one is
COMPILING = 60.0  # seconds that compiling a network may take; each batch needs it anew
MAKERS = {
    "Inkwash": gpu_steps.ours,
    "diffusers": gpu_steps.diffusers,
    "denoising-diffusion-pytorch": gpu_steps.lucidrains,
}
# Batch, form and precision of all sides, in the order of what they tell.
PLAN = [
    (256, "eager", True), (512, "compiled", True), (1024, "eager", True), (256, "eager", False), (512, "eager", True),
    (128, "eager", True), (128, "CUDA graphs", True), (256, "compiled", True), (1024, "compiled", True),
    (512, "CUDA graphs", True),
]  # fmt: skip
TINY_PLAN = [(4, "eager", True), (4, "compiled", True), (2, "eager", False)]


@dataclass
class Session:
    """One call: its device, its end, and what it has measured."""

    device: torch.device
    tiny: bool
    deadline: float
    peak: float = 0.0
    flops: float = 0.0

    @property
    def model(self) -> dict[str, Any]:
        return gpu_steps.TINY if self.tiny else gpu_steps.LARGE

    @property
    def left(self) -> float:
        """Seconds until it has to end."""
        return self.deadline - time.monotonic()


def main(words: list[str] | None = None) -> None:
    """Measure what there is time for, and write the report."""
    options = _parse(words)
    before = machine.load()
    facts = {**machine.facts(), "title": "Inkwash beside its peers on a GPU", "command": _command(sys.argv[1:])}
    facts |= {"threads": torch.get_num_threads(), "rounds": ROUNDS, "busy": machine.is_busy(before)}
    facts |= {"quick": options.tiny, "load": [before, before], "device": "none"}
    session = Session(torch.device(options.device), options.tiny, time.monotonic() + options.minutes * 60)
    plan = TINY_PLAN if options.tiny else PLAN
    rows = {job: _empty(*job) for job in plan} | {extra: extra.empty() for extra in gpu_extras.EXTRAS}

    def write() -> None:
        flat = [row for some in rows.values() for row in some]
        report.write(options.out, "gpu", facts, [*flat, *_targets(flat, session)])

    write()
    if session.device.type == "cuda" and not torch.cuda.is_available():
        return print("torch sees no GPU here: every row says `not measured`", file=sys.stderr)
    facts["device"] = torch.cuda.get_device_name() if session.device.type == "cuda" else "the CPU"
    torch.backends.cuda.matmul.allow_tf32 = False
    session.peak = gpu_steps.matrix_peak(session.device, 128 if options.tiny else 8192)
    session.flops = gpu_steps.flops_of_an_image(session.model, session.device)
    facts["peak"], facts["flops"] = session.peak, session.flops
    for job in _in_order(plan):
        if session.left > 0:
            start = time.monotonic()
            rows[job] = job.measure(session) if isinstance(job, gpu_extras.Extra) else _train(session, *job)
            print(f"{job}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            write()
    print((options.out / "gpu.md").read_text())
    return None


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny network: does everything run?")
    parser.add_argument(
        "--minutes", type=float, default=7.0, help="begin nothing later, and compile nothing in the last one"
    )
    parser.add_argument("--out", type=Path, help="folder of the report: experiments/benchmarks, or runs/bench-quick")
    options = parser.parse_args(words)
    options.out = options.out or ROOT / ("runs/bench-quick" if options.tiny else "experiments/benchmarks")
    return options


def _command(words: list[str]) -> str:
    return f'make bench-gpu ARGS="{" ".join(words)}"' if words else "make bench-gpu"


def _in_order(plan: Sequence[Any]) -> list[Any]:
    """Return the first trainings, sampling and the like, and the other trainings."""
    return [*plan[:3], *gpu_extras.EXTRAS, *plan[3:]]


def _case(size: int, form: str, half: bool) -> str:
    return f"batch {size}, {'bf16' if half else 'float32'}, {form}"


def _empty(size: int, form: str, half: bool) -> list[Row]:
    case = _case(size, form, half)
    return [Row("training", case, side, unit="images/s", note="not measured") for side in MAKERS]


def _train(session: Session, size: int, form: str, half: bool) -> list[Row]:
    """Let all sides take turns on one batch size; then free their memory."""
    rows = _empty(size, form, half)
    times = _times(session, rows, size, form, half)
    for row in rows:
        if seconds := times.get(row.side):
            fill(row, seconds, times.get("Inkwash"), size)
            if row.side != "denoising-diffusion-pytorch" and row.value:  # whose network is another
                share = row.value.median * session.flops / session.peak
                row.note = f"{100 * share:.3g}% of the matrix peak, {session.peak / 1e12:.3g} TFLOP/s"
    torch.compiler.reset()
    gc.collect()
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
    return rows


def _times(session: Session, rows: Sequence[Row], size: int, form: str, half: bool) -> dict[str, list[float]]:
    """Return the seconds of each side's step; the rows of others get a note why they have none."""
    steps = {}
    for row in rows:
        row.note = missing(row.side)
        if form != "eager" and session.left < COMPILING:
            row.note = row.note or "not measured: no time left"
        if not row.note:
            try:
                step = MAKERS[row.side](session.model, size, session.device, form, half)
                gpu_steps.timed(step, session.device, 3)
                steps[row.side] = (step, gpu_steps.timed(step, session.device, 2))
            except Exception as error:  # out of memory, or a network that cannot be compiled: the others go on
                row.note = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:150]}"
    return in_turns(session, steps)


def in_turns(session: Any, steps: dict[str, tuple[Callable[[], Any], float]]) -> dict[str, list[float]]:
    """Return the seconds of a step of each side, one value a round; beside each side its first estimate."""
    rounds, seconds = (2, 0.01) if session.tiny else (ROUNDS, SECONDS)
    times: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(rounds):
        for side, (step, once) in steps.items():
            times[side].append(gpu_steps.timed(step, session.device, max(2, round(seconds / once))))
    return times


def fill(row: Row, seconds: Sequence[float], ours: Sequence[float] | None, size: int) -> None:
    """Set a row's images a second, and its ratio to ours."""
    row.value = Spread.of([size / second for second in seconds])
    row.ratio = Spread.of([b / a for a, b in zip(ours, seconds, strict=True)]) if ours else None


def _targets(rows: Sequence[Row], session: Session) -> list[Row]:
    """Return the rows of what was wanted of the best of each side."""
    best: dict[str, float] = {}
    for row in rows:
        if row.part == "training" and row.value:
            best[row.side] = max(best.get(row.side, 0), row.value.median)
    ours, wanted = best.get("Inkwash"), []
    for peer in [side for side in MAKERS if side != "Inkwash"]:
        row = Row("best of all", "any batch, form and precision", peer, unit="images/s", note="not measured")
        if ours and peer in best:
            row.value, row.ratio, row.note = Spread.of([best[peer]]), Spread.of([ours / best[peer]]), ""
        wanted.append(row.at_least(1.5))
    share = ours * session.flops / session.peak if ours else None
    row = Row("best of all", "share of the matrix peak", "Inkwash", unit="%", note="not measured")
    if share is not None:
        row.value, row.note = Spread.of([100 * share]), ""
    wanted.append(row.wanted("at least 40%", None if share is None else share >= 0.4))
    row = Row("best of all", "default (bf16) against default (float32), batch 256", "diffusers", note="not measured")
    of = {(r.side, r.case): r.value.median for r in rows if r.value}
    a, b = of.get(("Inkwash", _case(256, "eager", True))), of.get(("diffusers", _case(256, "eager", False)))
    if a and b:
        row.value, row.unit, row.ratio, row.note = Spread.of([b]), "images/s", Spread.of([a / b]), ""
    return [*wanted, row.at_least(3)]


if __name__ == "__main__":
    main()
