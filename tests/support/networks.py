"""Small networks with known outputs, and the random numbers of a loss."""

import torch
from torch import nn

from inkwash.random import Draws, generator


class Wave(nn.Module):
    """A network whose output depends on x, t and y, cheaply."""

    def forward(self, x, time, y=None):
        shift = time / 100 if y is None else time / 100 + y
        return torch.sin(3 * x) + 0.1 * torch.cos(shift).view(-1, 1, 1, 1).to(x)


class Zero(nn.Module):
    """A network whose output is 0; it keeps the labels it was given."""

    def forward(self, x, time, y=None):
        self.y = y
        return torch.zeros_like(x)


def draws(n=1):
    """Return the random numbers of a loss for n equal shares of a batch."""
    return Draws([generator(0, "loss", k) for k in range(n)])
