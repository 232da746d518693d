"""Magnitude-preserving operations and layers (Karras et al. 2024, EDM2, appendix B).

Each keeps the expected magnitude of its input, sqrt(mean x_i^2), when that is 1 and its inputs are uncorrelated. So the
activations of a network made of them stay near 1 without norms, and the magnitude of a weight has no meaning: layers
divide it out. `renormalize` puts it back to 1 after every step (forced weight normalisation, eq. 66), because a weight
that grows would learn ever more slowly: the learning rate alone is then the speed of all layers.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkwash.dtypes import KeepDtype

EPS = 1e-4
SILU_STD = 0.596  # sqrt(E[silu(x)^2]) of x ~ N(0, 1)


def normalize(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return x / (1e-4 + sqrt(mean of x^2 over dims)), of magnitude 1 over these dimensions; norms at least float32."""
    number = math.prod([x.shape[dim] for dim in dims])  # a list, because torch.compile takes no generator here
    dtype = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=tuple(dims), keepdim=True, dtype=dtype)
    return x / (EPS + norm / math.sqrt(number)).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """Return silu(x) / 0.596 (eq. 81)."""
    return F.silu(x) / SILU_STD


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return ((1 - t) a + t b) / sqrt((1 - t)^2 + t^2) (eq. 88)."""
    return torch.lerp(a, b, t) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """Return a and b joined along dimension 1, so weighted that they contribute 1 - t and t whatever their widths.

    C (1 - t) / sqrt(N_a) a and C t / sqrt(N_b) b with C = sqrt((N_a + N_b) / ((1 - t)^2 + t^2)) (eq. 103).
    """
    n_a, n_b = a.shape[1], b.shape[1]
    c = math.sqrt((n_a + n_b) / ((1 - t) ** 2 + t**2))
    return torch.cat([c * (1 - t) / math.sqrt(n_a) * a, c * t / math.sqrt(n_b) * b], dim=1)


class MPFourier(KeepDtype, nn.Module):
    """sqrt(2) cos(f t + phi), (n,) -> (n, dim), f / 2 pi ~ N(0, 1), phi / 2 pi ~ U(0, 1), never trained (eq. 75)."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(dim))
        self.register_buffer("phases", 2 * math.pi * torch.rand(dim))

    def forward(self, time: Tensor) -> Tensor:
        return math.sqrt(2) * torch.cos(time[:, None] * self.frequencies + self.phases)


class Magnitude:
    """Mixin for layers that use normalize(weight) gain / sqrt(fan_in) (eq. 47). The weight starts as N(0, 1).

    Attributes:
        over: dimensions of the weight that belong to one output.
    """

    over: tuple[int, ...]
    weight: Any

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)
        if not self.weight.is_meta:  # which has no numbers, and takes its time
            self.renormalize()

    @torch.no_grad()
    def renormalize(self) -> None:
        """Overwrite the weight by normalize(weight)."""
        self.weight.copy_(normalize(self.weight, self.over))

    def scaled(self, gain: Tensor | float) -> Tensor:
        """Return the weight that is used, which passes on a magnitude of 1 times the gain."""
        fan_in = math.prod([self.weight.shape[dim] for dim in self.over])
        return normalize(self.weight, self.over) * (gain / math.sqrt(fan_in))


class MPConv(Magnitude, nn.Conv2d):
    """Convolution without bias, of the same size."""

    over = (1, 2, 3)

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, input: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        return F.conv2d(input, self.scaled(gain), padding=self.padding)


class MPLinear(Magnitude, nn.Linear):
    """Linear layer without bias."""

    over = (1,)

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        return F.linear(input, self.scaled(gain))


class MPLabel(Magnitude, nn.Embedding):
    """Linear layer of a class y as sqrt(K) onehot(y): (n,) int64 -> (n, dim), zeros for -1.

    Of the weight, (K, dim), it takes row y; sqrt(K) makes up for 1 / sqrt(fan_in).
    """

    over = (0,)

    def forward(self, input: Tensor) -> Tensor:
        table = self.scaled(math.sqrt(self.num_embeddings))
        return F.embedding(input.clamp(min=0), table) * (input >= 0)[:, None]


def renormalize(network: nn.Module) -> None:
    """Put the weights of all magnitude-preserving layers of a network back to magnitude 1 (eq. 66)."""
    for layer in network.modules():
        if isinstance(layer, Magnitude):
            layer.renormalize()
