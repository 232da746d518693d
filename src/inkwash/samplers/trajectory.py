"""Record the way of a few images from noise to data."""

from collections.abc import Callable

import torch
from torch import Tensor

from inkwash.images import to_uint8
from inkwash.process.forward import visible
from inkwash.process.schedules import Schedule


class Trajectory:
    """Records x_t and the estimated x_0 of the first images of a batch, as `watch` of a sampler.

    However many estimates a sampler makes, it keeps `frames` to 2 * frames of them, evenly spaced: when there are more,
    it drops every second one, and from then on takes half as many.

    They stay on the sampler's device until they are asked for: a copy would wait for all that it still has to do.

    Args:
        schedule: the path, on that device.
        images: number of images; fewer if the batch has fewer.
        frames: number of estimates kept.
        decode: makes images of latents; None for pixels.

    Attributes:
        finished: whether the last ones are the finished images.
    """

    def __init__(
        self,
        schedule: Schedule,
        images: int = 6,
        frames: int = 12,
        decode: Callable[[Tensor], Tensor] | None = None,
    ):
        self.schedule, self.images, self.most = schedule, images, 2 * frames
        self.decode = decode or (lambda x: x)
        self.finished = False
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._seen, self._stride = 0, 1

    @property
    def times(self) -> list[float]:
        """The times kept, noisiest first."""
        return [float(t) for t, _, _ in self._kept]

    @property
    def x_t(self) -> list[Tensor]:
        """x_t at each of them, uint8 (images, C, H, W), on the CPU."""
        return [x_t.cpu() for _, x_t, _ in self._kept]

    @property
    def x_0(self) -> list[Tensor]:
        """The estimated x_0 at each of them, uint8 (images, C, H, W), on the CPU."""
        return [x_0.cpu() for _, _, x_0 in self._kept]

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        wanted = self._seen % self._stride == 0
        self._seen += 1
        if not wanted:
            return
        alpha, sigma = self.schedule(t[:1])
        shown = to_uint8(self.decode(visible(x_t[: self.images], alpha, sigma)))
        self._kept.append((t[0], shown, to_uint8(self.decode(x_0[: self.images]))))
        if len(self._kept) == self.most:
            del self._kept[1::2]
            self._stride *= 2

    def finish(self, images: Tensor) -> None:
        """Add the finished images, uint8 (n, C, H, W), at t = 0: as many as the batch had that was watched."""
        last = images[: len(self._kept[0][1]) if self._kept else self.images]
        self._kept.append((torch.zeros(()), last, last))
        self.finished = True
