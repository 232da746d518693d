"""Show a network before it trains: what the process of `inkwash summary` runs."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inkwash.config.instantiate import build
from inkwash.config.shapes import network_shape
from inkwash.errors import UserError
from inkwash.reports.console import print_table
from inkwash.runs.directory import RunDirectory
from inkwash.training.flops import PASSES, forward_flops, in_words
from inkwash.training.network_cost import Memory, layers, memory

SIZES = (1, 8, 64)  # batches beside that of the configuration


def show(directory: Path) -> None:
    """Print layers, operations and memory of the network of directory/config.yaml. Nothing is trained or written."""
    config = RunDirectory(directory).config
    shape = network_shape(config)
    try:
        with torch.device("meta"):
            net: Any = build(config["model"])
        rows = layers(net, shape)
        needed = memory(net, shape, state_per_weight(config), 1 + len(config.get("averages") or {}))
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"model: the network cannot be made or run without numbers ({' '.join(str(error).split())[:200]}): train "
            "it for a few steps instead, with debug=fast"
        ) from error
    print_table(
        ["layer", "class", "output", "parameters"],
        [[row.name, row.kind, _sized(row.shape), f"{row.parameters:,}"] for row in rows],
        names=2,
    )
    tell_size(net, forward_flops(net, shape))
    tell_memory(needed, config["data"]["batch_size"])


def tell_size(net: nn.Module, flops: int | None) -> None:
    """Print the number of parameters, and of operations if it is known."""
    print(f"parameters   {sum(p.numel() for p in net.parameters()):,}")
    if flops:
        print(f"operations   {in_words(flops)} for a pass of an image, {in_words(PASSES * flops)} to train on it once")


def tell_memory(needed: Memory, batch: int) -> None:
    """Print the memory of a step for several numbers of images at a time."""
    sizes = ", ".join(f"{n}: {megabytes(needed.of(n))}" for n in sorted({*SIZES, batch}))
    print(f"memory       {megabytes(needed.weights)} for weights, gradients, optimizer, averages, in float32,")
    print("             with what the backward pass keeps of so many images at a time")
    print("             (while operations run, a step takes about a quarter more):")
    print(f"             {sizes}")


def state_per_weight(config: dict[str, Any]) -> float:
    """Return how many numbers the optimizer keeps for each weight, by a step of it on a few small weights."""
    optimizer = build(config["optimizer"])
    if "network" in inspect.signature(optimizer.func).parameters:
        return 2.0  # Muon, whose rule depends on the network: Adam's for some, one for the others
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.zeros_like(weight)
    stepped = optimizer([weight])
    stepped.step()
    kept = [value for value in stepped.state[weight].values() if isinstance(value, torch.Tensor) and value.ndim]
    return sum(value.numel() for value in kept) / weight.numel()


def megabytes(size: float) -> str:
    """Return 1.2 MB for 1234567."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _sized(shape: tuple[int, ...] | None) -> str:
    return "–" if shape is None else " x ".join(map(str, shape))
