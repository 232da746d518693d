"""Time a training step of each network beside the U-Net of the same images: speed for its operations, and memory.

    python benchmarks/networks.py [--threads N] [--rounds N] [--only NAME ...]

A step is a forward and a backward pass and AdamW, in float32. The networks take turns, so that what else the machine
does falls on all of them. Prints the table of experiments/networks.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from omegaconf import OmegaConf

from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.training.flops import forward_flops
from inkwash.training.network_cost import memory

# Images, number of classes, images of a step, and the networks; the first is the one to compare with.
GROUPS: list[tuple[tuple[int, int, int], int, int, list[str]]] = [
    ((1, 8, 8), 10, 64, ["unet_small", "dit_digits", "ddpmpp_small", "edm2_small"]),
    ((1, 28, 28), 10, 16, ["unet_small", "unet_small model.patch_size=2", "dit_mnist"]),
    (
        (3, 32, 32), 10, 2,
        ["unet_cifar10", "ddpmpp_cifar10", "ncsnpp_cifar10", "edm2_cifar10", "dit_s", "dit_b"],
    ),
]  # fmt: skip
PASSES = 3  # forward, and twice as much backward


def network(name: str, shape: tuple[int, ...], classes: int, device: str) -> torch.nn.Module:
    """Build a choice of conf/model, with overrides behind its name."""
    choice, *overrides = name.split()
    node = OmegaConf.load(f"{config_dir()}/model/{choice}.yaml")
    while defaults := node.pop("defaults", None):
        node = OmegaConf.merge(OmegaConf.load(f"{config_dir()}/model/{defaults[0]}.yaml"), node)
    whole = OmegaConf.create({"data": {"shape": list(shape), "num_classes": classes}, "augment": None, "model": node})
    whole.merge_with_dotlist(overrides)
    with torch.device(device):
        return build(OmegaConf.to_container(whole.model, resolve=True))


def step_of(name: str, shape: tuple[int, ...], classes: int, images: int) -> Callable[[], float]:
    """Return a function that makes a training step and returns its seconds."""
    net = network(name, shape, classes, "cpu")
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    x, time_, y = torch.randn(images, *shape), torch.rand(images) * 1000, torch.randint(classes, (images,))

    def step() -> float:
        start = time.perf_counter()
        net(x, time_, y).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start

    return step


def measure(shape: tuple[int, int, int], classes: int, images: int, names: list[str], rounds: int) -> list[list[str]]:
    """Return a row for each network."""
    steps = {name: step_of(name, shape, classes, images) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):  # the first warms up
        for name, step in steps.items():
            took = step()
            if round_:
                seconds[name].append(took / images)
    rows, base = [], 0.0
    for name, found in seconds.items():
        shadow: Any = network(name, shape, classes, "meta")
        flops, cost = forward_flops(shadow, shape) or 0, memory(shadow, shape, 2, 1)
        speed = PASSES * flops / statistics.median(found) / 1e9
        base = base or speed
        ratios = sorted(PASSES * flops / value / 1e9 / base for value in found)
        rows.append([
            "x".join(map(str, shape)), f"`{name}`", f"{sum(p.numel() for p in shadow.parameters()):,}",
            f"{flops / 1e6:,.1f}", f"{1000 * statistics.median(found):.2f}", f"{speed:.0f}",
            f"{speed / base:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            f"{cost.weights / 2**20:,.1f}", f"{cost.per_image / 2**20:,.2f}",
        ])  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{platform.processor() or platform.machine()}, {args.threads} thread(s), torch {torch.__version__}\n")
    columns = (
        "images", "network", "parameters", "MFLOP, a pass", "ms, an image", "GFLOP/s", "speed per FLOP",
        "MiB, weights and state", "MiB, an image",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for shape, classes, images, names in GROUPS:
        chosen = [name for name in names if not args.only or any(part in name for part in args.only)]
        for row in measure(shape, classes, images, chosen, args.rounds):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
