"""Tasks of `make sample`: images from noise, or from other images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inkwash.editing.codecs import Codec, Inverting, Noise, Noising, Painter
from inkwash.editing.masks import Mask
from inkwash.editing.repaint import RePaint, Resampled
from inkwash.errors import UserError
from inkwash.process.spacing import Spacing
from inkwash.samplers.base import Sampler


class Task(ABC):
    """Task: samples rows of images, each from its inputs to its results. A new one writes `row`.

    Attributes:
        inputs: number of images a row starts from.
        width: number of images a row samples at once.
        results: the sampled images of a row.
        images: source of the inputs: an image file, a folder of images, a Parquet file;
            None for held-out images of the run's own data.
    """

    inputs: int = 1
    width: int = 1
    results: slice = slice(2, 3)
    images: str | None = None

    @abstractmethod
    def row(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        """Return rows (n, columns, C, H, W) in [-1, 1].

        Args:
            x_0: (n, inputs, C, H, W) in [-1, 1].
            noise: standard normal images, (n, C, H, W) at every call.
            y: labels (n, inputs), (n, 1) without inputs, -1 for no label; None for a network without classes.
        """

    def take_sizes(self, sizes: Callable[[], Sequence[tuple[int, int]]]) -> None:  # noqa: B027 - most need nothing
        """Do what depends on the size of the input images before they were scaled and cropped.

        Args:
            sizes: returns height and width of each of them.
        """

    def spacing(self, sampler: Sampler) -> Spacing:
        """Return the times that sampling a row visits."""
        return sampler.spacing

    def sums(self, rows: Tensor) -> dict[str, float]:
        """Return sums over some finished rows, uint8 (n, columns, C, H, W), which are added up for `report`."""
        return {}

    def report(self, sums: dict[str, float]) -> dict[str, float]:
        """Return summary statistics of all rows, from their sums."""
        return {}


class Generate(Task):
    """Images from noise."""

    inputs = 0
    results = slice(0, 1)

    def row(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        return painter(noise, _column(y, 0))[:, None]


class Inpaint(Task):
    """Image; image without what the mask hides; image with that painted anew (see RePaint).

    Args:
        mask: what to paint (see Mask).
        resamples, jump_length: see Resampled; there are about `resamples` times as many steps.
        images: see Task.
    """

    def __init__(self, mask: str, resamples: int, jump_length: int, images: str | None = None):
        if min(resamples, jump_length) < 1:
            raise UserError(f"task.resamples={resamples} and task.jump_length={jump_length} must be at least 1")
        self.mask, self.resamples, self.jump_length, self.images = Mask(mask), resamples, jump_length, images

    def row(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        x_0 = x_0[:, 0]
        unknown = self.mask(*(painter.size or x_0.shape[2:])).to(x_0.device)
        if painter.size is not None:  # every latent that holds a hidden pixel
            unknown = F.adaptive_max_pool2d(unknown[None].float(), x_0.shape[2:])[0] > 0
        repaint = RePaint(painter.sampler, x_0, unknown, self.resamples, self.jump_length)
        painted = painter(noise, _column(y, 0), repaint)
        return torch.stack([x_0, x_0.masked_fill(unknown, 0), painted], dim=1)

    def take_sizes(self, sizes: Callable[[], Sequence[tuple[int, int]]]) -> None:
        if self.mask.is_file:
            self.mask.fit_to(sizes())

    def spacing(self, sampler: Sampler) -> Spacing:
        return Resampled(sampler.spacing, self.resamples, self.jump_length)


class RoundTrip(Task):
    """Image; its code; the image of that code."""

    def __init__(self, codec: Codec, images: str | None = None):
        self.codec, self.images = codec, images

    def row(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        x_0, y = x_0[:, 0], _column(y, 0)
        z = self.codec.encode(painter, x_0, noise, y)
        back = self.codec.decode(painter, z, noise, y)
        return torch.stack([x_0, self.codec.visible(painter, z), back], dim=1)

    def spacing(self, sampler: Sampler) -> Spacing:
        return self.codec.spacing(sampler)


class ImageToImage(RoundTrip):
    """Image; noisy image; another image that could have led there (SDEdit, Meng et al. 2021).

    Args:
        strength: fraction of the steps to t, see Codec.
        images: see Task.
    """

    def __init__(self, strength: float, images: str | None = None):
        super().__init__(Noising(strength), images)


class Reconstruct(RoundTrip):
    """Image; the noise that DDIM makes it from; the image made from that.

    Args:
        strength: see Codec.
        images: see Task.
    """

    def __init__(self, strength: float, images: str | None = None):
        super().__init__(Inverting(strength), images)

    def sums(self, rows: Tensor) -> dict[str, float]:
        squares = (rows[:, 2].double() - rows[:, 0].double()).square()
        return {"squares": float(squares.sum()), "values": squares.numel()}

    def report(self, sums: dict[str, float]) -> dict[str, float]:
        """Return the root mean square error, in levels of 0 .. 255."""
        return {"rmse_levels": (sums["squares"] / sums["values"]) ** 0.5}


class Interpolate(Task):
    """Image; images of codes between its own and another's; the other image.

    Frames of a row are decoded with the same noise; where its two images differ in label, without one.

    Args:
        codec: makes a Codec of a strength. Inverting is the interpolation of Song et al. 2020, section 5.3, and ends
            at the two images; Noising that of Ho et al. 2020, appendix D: both get the same noise, and drawing starts
            at t, where it got them.
        strength: see Codec.
        frames: number of images, the two ends included.
        images: see Task.
    """

    inputs = 2
    results = slice(1, -1)

    def __init__(self, codec: Callable[[float], Codec], strength: float, frames: int, images: str | None = None):
        if frames < 2:
            raise UserError(f"task.frames={frames} must be at least 2")
        self.codec, self.width, self.images = codec(strength), frames, images

    def row(self, painter: Painter, x_0: Tensor, noise: Noise, y: Tensor | None) -> Tensor:
        n, frames, eps = len(x_0), self.width, noise()
        label = None if y is None else torch.where(y[:, 0] == y[:, 1], y[:, 0], -1)

        def each(images: Tensor) -> Tensor:
            return images.repeat_interleave(frames, dim=0)

        a, b = (each(self.codec.encode(painter, x_0[:, end], lambda: eps, label)) for end in (0, 1))
        fraction = torch.linspace(0, 1, frames, dtype=torch.float64, device=x_0.device).repeat(n)
        z = self.codec.between(a, b, fraction.view(-1, 1, 1, 1))
        drawn = self.codec.decode(painter, z, lambda: each(noise()), None if label is None else each(label))
        return torch.cat([x_0[:, :1], drawn.view(n, frames, *drawn.shape[1:]), x_0[:, 1:]], dim=1)

    def spacing(self, sampler: Sampler) -> Spacing:
        return self.codec.spacing(sampler)


def _column(y: Tensor | None, column: int) -> Tensor | None:
    return None if y is None else y[:, column]
