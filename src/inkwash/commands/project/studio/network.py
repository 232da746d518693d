"""A network: images, times and labels to an output of the images' shape."""

import torch
from torch import Tensor, nn


class Pointwise(nn.Module):
    """Two layers at each pixel, which see the pixel, the time and the class.

    Args:
        shape: of an image, (C, H, W).
        width: number of features.
        num_classes: None for a network without classes.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, num_classes: int | None = None):
        super().__init__()
        self.num_classes = num_classes
        self.label = nn.Embedding((num_classes or 0) + 1, width)  # the first entry is for no label
        self.first, self.last = nn.Conv2d(shape[0] + 1, width, 1), nn.Conv2d(width, shape[0], 1)

    def forward(self, x: Tensor, time: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (n, C, H, W) for images (n, C, H, W), times (n,) of 0 to 1000, labels (n,), -1 for none, or None."""
        planes = (time / 1000)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        label = self.label(torch.zeros_like(time, dtype=torch.long) if y is None else y + 1)
        return self.last(torch.tanh(self.first(torch.cat([x, planes], 1)) + label[:, :, None, None]))
