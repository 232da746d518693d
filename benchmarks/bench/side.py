"""python -m bench.side KIND JSON: one of the loops that are compared with Inkwash, in a process of its own.

Which function is meant by which kind stands in LOOPS. It is called with the options and a gate, and runs until the
parent ends the process.
"""

import importlib
import json
import sys
from typing import Any

LOOPS = {
    "plain": "bench.training_loops:plain",
    "diffusers": "bench.training_loops:diffusers_example",
    "lucidrains": "bench.training_loops:lucidrains_trainer",
    "sample": "bench.sampling_loops:ours",
    "sample diffusers": "bench.sampling_loops:diffusers_pipeline",
    "sample lucidrains": "bench.sampling_loops:lucidrains_sample",
    "data": "bench.data_loops:ours",
    "data torchvision": "bench.data_loops:torchvision_loader",
}


def main(kind: str, options: dict[str, Any]) -> None:
    """Run a loop with so many CPU threads."""
    import torch

    from bench.gate import Gate

    torch.set_num_threads(options["threads"])
    module, _, name = LOOPS[kind].partition(":")
    getattr(importlib.import_module(module), name)(options, Gate())


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
