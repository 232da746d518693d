"""A step of sampling: equal steps, network and precision, against diffusers' pipelines and GaussianDiffusion."""

from bench.cases import DIGITS, SMALL, TINY, Case
from bench.rounds import Side, loop
from bench.rows import Bench, Row, compare, find


def measure(bench: Bench) -> list[Row]:
    """Return the rows of every workload and sampler."""
    if bench.quick:
        return _case(bench, TINY, "ddim", batch=4, steps=3)
    rows = _case(bench, DIGITS, "ddim", batch=64, steps=20) + _case(bench, DIGITS, "ddpm", batch=64, steps=20)
    return rows + _case(bench, SMALL, "ddim", batch=16, steps=5)


def _case(bench: Bench, case: Case, sampler: str, batch: int, steps: int) -> list[Row]:
    prepared = case.but(case.name, "model.num_classes=null").prepared(bench.folder / "cases" / f"s{case.name[:6]}")
    options = {**prepared.options, "config": prepared.config, "sampler": sampler, "steps": steps, "batch": batch}

    def side(name: str, kind: str, **more: object) -> Side:
        return loop(name, kind, bench.threads, **options, **more)

    sides = [
        side("Inkwash", "sample", mode="chosen"),
        side("Inkwash, float32", "sample", mode="contiguous"),
        side("diffusers", "sample diffusers"),
    ]
    if sampler == "ddim":
        sides += [
            side("denoising-diffusion-pytorch", "sample lucidrains", same_network=False),
            side("denoising-diffusion-pytorch, Inkwash's network", "sample lucidrains", same_network=True),
        ]
    name = f"{case.name.partition(', B=')[0].partition(', as')[0]}, {batch} images, {sampler.upper()}"
    rows = compare(bench, "sampling", name, sides, per=steps, unit="ms a step")
    find(rows, "diffusers").at_least(1.05)
    return rows
