"""Measure the cost of a step against batch size, width, resolution and number of ranks."""

from collections.abc import Iterator

from bench.cases import ADAMW, DIGITS, TINY, Case
from bench.rounds import loop
from bench.rows import Bench, Row, compare
from bench.training import product

# Images of noise, for which the network can be as large as is wanted.
NOISE = Case("8x8", ("model=unet_small", "model.channels=32", "data.shape=[1,8,8]", ADAMW), noise=True)


def measure(bench: Bench) -> list[Row]:
    """Return a row of Inkwash and of diffusers for each size, and one for each number of ranks."""
    rows = []
    for part, case in sizes(bench.quick):
        prepared = case.prepared(bench.folder / "cases" / part / case.name, images=64 if bench.quick else 512)
        sides = [
            product("Inkwash", bench, prepared.overrides),
            loop("diffusers, images in memory", "diffusers", bench.threads, in_memory=True, **prepared.options),
        ]
        rows += compare(bench, part, case.name, sides)
    return rows + ranks(bench)


def sizes(quick: bool) -> Iterator[tuple[str, Case]]:
    """Yield what is varied, and a case."""
    if quick:
        yield "cost against batch", NOISE.but("8", *TINY.overrides, "data.batch_size=8")
        return
    for batch in (32, 128, 512):
        yield "cost against batch", NOISE.but(str(batch), f"data.batch_size={batch}")
    for channels in (16, 32, 64):
        yield "cost against width", NOISE.but(str(channels), f"model.channels={channels}")
    for side in (8, 16, 32):
        overrides = (f"data.shape=[1,{side},{side}]", "data.batch_size=32")
        yield "cost against resolution", NOISE.but(str(side), *overrides)


def ranks(bench: Bench) -> list[Row]:
    """Compare one process with one thread, one with two, and two (gloo) with one each, on the same global batch."""
    case = (TINY if bench.quick else DIGITS).prepared(bench.folder / "cases" / "ranks")
    two = ("trainer=ddp_cpu", "trainer.devices=2", "trainer.threads=1")
    sides = [
        product("Inkwash, 1 process x 1 thread", bench, (*case.overrides, "trainer.threads=1"), threads=1),
        product("Inkwash, 1 process x 2 threads", bench, (*case.overrides, "trainer.threads=2"), threads=2),
        product("Inkwash, 2 processes x 1 thread", bench, (*case.overrides, *two), threads=1),
    ]
    return compare(bench, "cost against ranks", case.case.name, sides)
