"""Small networks with known outputs, and the random numbers of a loss."""

import torch
from torch import nn

from inkwash.random import Draws, generator

# EDM's and EDM2's networks at the size of a test, the first with its augmentation.
_SIZE = ("experiment=edm", "model.channel_mult=[1,1]", "model.num_res_blocks=1", "model.attention_resolutions=[]")
SONG = ("model=ncsnpp_cifar10", "augment=edm", "model.augment_dim=9", *_SIZE)
EDM2 = ("model=edm2_small", "model.head_dim=8", *_SIZE)


class Wave(nn.Module):
    """A network whose output depends on x, t and y, cheaply."""

    def forward(self, x, time, y=None):
        shift = time / 100 if y is None else time / 100 + y
        return torch.sin(3 * x) + 0.1 * torch.cos(shift).view(-1, 1, 1, 1).to(x)


class Halved(nn.Module):
    """A network whose output is half as wide and high as the images."""

    num_classes = None

    def __init__(self, shape, **_):
        super().__init__()
        self.layer = nn.Conv2d(shape[0], shape[0], 1)

    def forward(self, x, time, y=None):
        return self.layer(x)[..., ::2, ::2]


class Zero(nn.Module):
    """A network whose output is 0; it keeps the labels it was given."""

    def forward(self, x, time, y=None):
        self.y = y
        return torch.zeros_like(x)


def draws(n=1):
    """Return the random numbers of a loss for n equal shares of a batch."""
    return Draws([generator(0, "loss", k) for k in range(n)])


class Buffered(nn.Module):
    """A network with every kind of buffer: BatchNorm, spectral norm, a statistic and a counter of its own, and a cache.

    The statistic depends on the images a rank has seen; the cache is not persistent, and made by the first pass.
    """

    def __init__(self, shape, num_classes=None, **_):
        super().__init__()
        self.num_classes, channels = num_classes, shape[0]
        self.enter = nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels + 1, 8, 3, padding=1))
        self.norm, self.leave = nn.BatchNorm2d(8), nn.Conv2d(8, channels, 3, padding=1)
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mask", torch.full((2,), -torch.inf))
        self.register_buffer("scale", None, persistent=False)

    def forward(self, x, time, y=None):
        self.scale = torch.ones(1, device=x.device) if self.scale is None else self.scale
        if self.training:
            self.level = torch.lerp(self.level, x.detach().abs().mean(), 0.1)
            self.passes += 1
        t = (time / 1000).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x.dtype)
        return self.scale * self.leave(torch.relu(self.norm(self.enter(torch.cat([x, t], 1)))))
