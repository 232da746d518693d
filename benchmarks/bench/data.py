"""Batches of 50,000 images of 3 x 32 x 32 with mirror images, against torchvision and DataLoader."""

from bench.data_loops import BATCHES
from bench.rounds import loop
from bench.rows import Bench, Row, compare, find


def measure(bench: Bench) -> list[Row]:
    """Return the rows."""
    images = 2_000 if bench.quick else 50_000

    def side(name: str, kind: str, **more: object):
        return loop(name, kind, 1 if bench.quick else bench.threads, images=images, batch=128, **more)

    sides = [
        side("Inkwash", "data"),
        side("torchvision, DataLoader(2 workers)", "data torchvision", workers=2),
        side("torchvision, DataLoader(0 workers)", "data torchvision", workers=0),
    ]
    rows = compare(bench, "data", f"{images:,} images, batches of 128", sides, per=BATCHES, unit="ms a batch")
    find(rows, "torchvision, DataLoader(2 workers)").at_least(15)
    return rows
