"""python -m bench.trained KIND JSON: train a peer on a folder of images for some steps, and draw images with it.

Prints the seconds that the training took, from its first step on. Options: those of the loops (side.py), and `steps`,
`draws` (number of images), `sampling_steps`, `out` (their folder).
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from bench import training_loops

AT_A_TIME = 128


def main(kind: str, options: dict[str, Any]) -> None:
    """Train, draw, and write the images as PNG files."""
    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    marks: list[float] = []
    trained = {"diffusers": _diffusers, "lucidrains": _lucidrains}[kind]
    draw = trained(options, lambda: marks.append(time.perf_counter()))
    seconds, drawn = time.perf_counter() - marks[0], 0
    while drawn < options["draws"]:
        for image in draw(min(AT_A_TIME, options["draws"] - drawn)):
            levels = (255 * image).round().clamp(0, 255).to(torch.uint8).squeeze(0)
            Image.fromarray(levels.numpy()).save(f"{options['out']}/{drawn:05d}.png")
            drawn += 1
    print(json.dumps({"seconds": seconds}))


Draw = Callable[[int], torch.Tensor]  # a number of images -> images (n, 1, H, W) in [0, 1]


def _diffusers(options: dict[str, Any], gate: Callable[[], None]) -> Draw:
    from diffusers import DDIMPipeline, DDIMScheduler

    net, scheduler = training_loops.diffusers_example(options, gate, options["steps"])
    pipeline = DDIMPipeline(net, DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)

    def draw(n: int) -> torch.Tensor:
        images = pipeline(batch_size=n, num_inference_steps=options["sampling_steps"], output_type="np").images
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    return draw


def _lucidrains(options: dict[str, Any], gate: Callable[[], None]) -> Draw:
    options["sampling"] = {"sampling_timesteps": options["sampling_steps"]}
    diffusion = training_loops.lucidrains_trainer(options, gate, options["steps"])
    return lambda n: diffusion.sample(batch_size=n)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
