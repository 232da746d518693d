"""Networks filled with numbers that their shapes determine, and what is compared of their outputs.

The values expected of them were computed with other implementations of the same networks, filled in the same way.
"""

import math

import torch
from torch import Tensor, nn


def filled(net: nn.Module) -> nn.Module:
    """Fill all parameters, in float64; an embedding as the weight of the linear layer of a onehot vector."""
    net.double().eval()
    for layer in net.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            gain = isinstance(layer, nn.GroupNorm) and name == "weight"
            matrix = parameter.data.T if isinstance(layer, nn.Embedding) else parameter.data
            matrix.copy_(_values(matrix, gain))
    return net


def _values(like: Tensor, norm_gain: bool) -> Tensor:
    if like.numel() == 1:  # a gain of EDM2
        return torch.full_like(like, 0.5)
    if like.ndim == 1:
        return norm_gain + 0.1 * torch.sin(0.7 * torch.arange(len(like)).double() + 0.5)
    i, j = torch.arange(len(like)).double()[:, None], torch.arange(like[0].numel()).double()
    wave = torch.sin(0.5 + 1.3 * i + 2.7 * i * j + 0.13 * j**2)
    return (math.sqrt(2 / len(j)) * wave).reshape(like.shape)


def image(channels: int, side: int) -> Tensor:
    """Return two images, sin(0.5 + 1.1 n + 2.3 c + 0.7 h + 1.9 w)."""
    n, c, h, w = torch.meshgrid(*(torch.arange(size).double() for size in (2, channels, side, side)), indexing="ij")
    return torch.sin(0.5 + 1.1 * n + 2.3 * c + 0.7 * h + 1.9 * w)


def checksum(z: Tensor) -> Tensor:
    """Return sum_k z_k cos k."""
    return (z.flatten() * torch.cos(torch.arange(z.numel(), dtype=z.dtype))).sum()


def outputs(layers: dict[str, nn.Module]) -> dict[str, float]:
    """Return a dictionary that a forward pass fills with the checksums of what these layers give."""
    seen: dict[str, float] = {}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: float(checksum(out.detach()))}))
    return seen


def facts(net: nn.Module, out: Tensor) -> dict[str, float]:
    """Return numbers of an output, and the norm of the gradient of its checksum."""
    total = checksum(out)
    total.backward()
    gradient = math.sqrt(sum(float(p.grad.square().sum()) for p in net.parameters() if p.grad is not None))
    z = out.detach()
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "checksum": float(total.detach()),
        "mean": float(z.mean()),
        "rms": float(z.square().mean().sqrt()),
        "first": float(z.flatten()[0]),
        "last": float(z.flatten()[-1]),
        "gradient": gradient,
    }
