"""Record the way of a few images from noise to data."""

import torch
from torch import Tensor

from inkwash.images import to_uint8
from inkwash.process.schedules import Schedule


def visible(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Quantise x_t (n, C, H, W) to uint8 as if data had variance 1: divided by sqrt(alpha^2 + sigma^2)."""
    return to_uint8(x_t / (alpha**2 + sigma**2).sqrt().to(x_t))


class Trajectory:
    """Records x_t and the estimated x_0 of the first images of a batch, as `watch` of a sampler.

    However many estimates a sampler makes, it keeps `frames` to 2 * frames of them, evenly spaced: when there are more,
    it drops every second one, and from then on takes half as many.

    Args:
        schedule: the path.
        images: number of images; fewer if the batch has fewer.
        frames: number of estimates kept.

    Attributes:
        times: the times kept, noisiest first.
        finished: whether the last ones are the finished images.
        x_t, x_0: uint8 (images, C, H, W) at each of them, on the CPU.
    """

    def __init__(self, schedule: Schedule, images: int = 6, frames: int = 12):
        self.schedule, self.images, self.most = schedule, images, 2 * frames
        self.times: list[float] = []
        self.x_t: list[Tensor] = []
        self.x_0: list[Tensor] = []
        self.finished = False
        self._seen, self._stride = 0, 1

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        wanted = self._seen % self._stride == 0
        self._seen += 1
        if not wanted:
            return
        alpha, sigma = self.schedule(t[:1])
        self.times.append(float(t[0]))
        self.x_t.append(visible(x_t[: self.images], alpha, sigma).cpu())
        self.x_0.append(to_uint8(x_0[: self.images]).cpu())
        if len(self.times) == self.most:
            for kept in (self.times, self.x_t, self.x_0):
                del kept[1::2]
            self._stride *= 2

    def finish(self, images: Tensor) -> None:
        """Add the finished images, uint8 (n, C, H, W), at t = 0: as many as the batch had that was watched."""
        last = images[: len(self.x_t[0]) if self.x_t else self.images].cpu()
        self.times.append(0.0)
        self.x_t.append(last)
        self.x_0.append(last)
        self.finished = True
