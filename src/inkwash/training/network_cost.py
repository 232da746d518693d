"""List a network's layers and estimate the memory of a training step, on the meta device.

The network lives on torch's meta device, which has shapes and no values, so it may be larger than the memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """A part of a network: its name, its class, the shape of its output for one image, and its parameters."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int


@dataclass(frozen=True)
class Memory:
    """Bytes that a training step needs on a device, in float32.

    Attributes:
        weights: of the trained network, their gradients, the optimizer's state, and each average.
        per_image: what the forward pass keeps of each image for the backward pass.
    """

    weights: int
    per_image: int

    def of(self, images: int) -> int:
        """Return the bytes of a step of so many images at a time."""
        return self.weights + images * self.per_image


def layers(net: nn.Module, shape: tuple[int, ...]) -> list[Layer]:
    """List the parts of a network, each entry of a list of modules for itself, in the order of their definition.

    Args:
        net: on the meta device.
        shape: (C, H, W) of an image.
    """
    parts, shapes = dict(_parts(net)), {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output if isinstance(output, Tensor) else next(iter(output), None) if output else None
            shapes.setdefault(name, tuple(first.shape[1:]) if isinstance(first, Tensor) else None)

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    try:
        with torch.no_grad():
            _forward(net, shape, 1)
    finally:
        for handle in handles:
            handle.remove()
    return [
        Layer(name, type(part).__name__, shapes.get(name), sum(p.numel() for p in part.parameters()))
        for name, part in parts.items()
    ]


def _parts(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in net.named_children():
        if type(child) in (nn.ModuleList, nn.ModuleDict):
            yield from _parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def memory(net: nn.Module, shape: tuple[int, ...], state: float, averages: int) -> Memory:
    """Return the memory of a training step.

    Counted are weights, gradients, the optimizer's state, averages, and every tensor that autograd keeps; not what an
    operation needs while it runs, the images themselves, and what torch has for itself.

    Args:
        net: on the meta device.
        shape: (C, H, W) of an image.
        state: numbers that the optimizer keeps for each weight: 2 for Adam's.
        averages: of the weights, that of samples and metrics among them.
    """
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    one, three = (_kept(net, shape, images) for images in (1, 3))
    return Memory(round(weights * (2 + state + averages)), (three - one) // 2)


def _kept(net: nn.Module, shape: tuple[int, ...], images: int) -> int:
    """Return the bytes that autograd keeps of a forward pass, each storage once, without the weights."""
    own = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors, too, so that no other storage gets the place of one

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = _forward(net, shape, images)
        (output.float() ** 2).mean()
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def _forward(net: nn.Module, shape: tuple[int, ...], images: int) -> Tensor:
    labelled = getattr(net, "num_classes", None) is not None
    with torch.device("meta"):
        y = torch.zeros(images, dtype=torch.long) if labelled else None
        return net(torch.zeros(images, *shape), torch.zeros(images), y)
