"""Measure the time of an evaluation's statistics as a share of drawing its images.

`python -m bench.evaluation JSON` measures in a process of its own: drawing some of the images, which takes as long for
each, and the features and metrics of as many as are evaluated, of random pixels with the digits' classes.
"""

import json
import subprocess
import sys
import time
from typing import Any

from bench.cases import DIGITS, TINY
from bench.rounds import Side, Spread
from bench.rows import Bench, Row

METRICS = {"as in training": "[fid,accuracy]", "as in evaluate": "[fid,kid,prc,dc,memorised,accuracy,interval]"}


def measure(bench: Bench) -> list[Row]:
    """Return a row for each list of metrics."""
    images, drawn, steps = (100, 20, 3) if bench.quick else (10_000, 640, 50)
    rows = []
    for name, metrics in METRICS.items():
        overrides = [*(TINY if bench.quick else DIGITS).overrides, f"metrics={metrics}", "extractor=classifier"]
        options = {"overrides": overrides, "images": images, "drawn": drawn, "steps": steps, "threads": bench.threads}
        side = Side("Inkwash", (), bench.threads, {"INKWASH_DATA": str(bench.cache)})
        done = subprocess.run(
            [sys.executable, "-m", "bench.evaluation", json.dumps(options)], env=side.variables(), cwd=bench.folder,
            capture_output=True, text=True,
        )  # fmt: skip
        row = Row("evaluation", f"statistics of {images:,} images, metrics {name}", "Inkwash", unit="% of drawing")
        rows.append(row)
        if done.returncode:
            row.note = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
            continue
        said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        share = 100 * said["statistics"] / said["drawing"]
        row.value = Spread.of([share])
        row.note = (
            f"{said['statistics']:.3g} s beside {said['drawing']:.3g} s for {images:,} images in {steps} steps, "
            f"from {drawn:,} that were drawn"
        )
        row.wanted("under 5%", share < 5)
    return rows


def main(options: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of the statistics and of drawing, for so many images."""
    import torch
    from omegaconf import OmegaConf

    from bench.sampling_loops import our_sampler
    from inkwash import compose
    from inkwash.config.instantiate import build
    from inkwash.metrics.suite import Suite
    from inkwash.samplers.generate import generate, labels_for
    from inkwash.training.build import build_denoiser

    torch.set_num_threads(options["threads"])
    config: Any = OmegaConf.to_container(compose(*options["overrides"]), resolve=True)
    denoiser, data, n = build_denoiser(config).eval(), build(config["data"]), options["images"]
    labels, batch = labels_for(range(n), data.num_classes), config["data"]["batch_size"]
    suite = Suite(build(config["extractor"]), [build(node) for node in config["metrics"].values()], n)
    cache = config["callbacks"]["evaluation"]["cache_dir"]
    suite.prepare(data.train, data.heldout, cache, labelled=data.num_classes is not None)
    start, drawn = time.perf_counter(), options["drawn"]
    of_drawn = None if labels is None else labels[:drawn]
    for _ in generate(
        denoiser, our_sampler("ddim", options["steps"]), data.shape, range(drawn), of_drawn, batch_size=batch
    ):
        pass
    drawing = (time.perf_counter() - start) * n / drawn
    pixels = torch.randint(0, 256, (n, *data.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    for first in range(0, n, batch):
        index = range(first, min(n, first + batch))
        part = slice(first, first + batch)
        suite.update(index, pixels[part], None if labels is None else labels[part])
    suite.compute()
    return {"statistics": time.perf_counter() - start, "drawing": drawing}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
