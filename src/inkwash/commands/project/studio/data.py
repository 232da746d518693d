"""A data source: the images of a split and their labels."""

import torch
from inkwash.data.images import Images


class Stripes:
    """Vertical stripes of two widths, which are the classes.

    Args:
        num_images: of the training split; a quarter as many are held out.
    """

    def __init__(self, num_images: int):
        self.num_images = num_images

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> Images:
        """Return uint8 images (n, C, H, W) and labels (n,) of the split "train" or "heldout"."""
        labels = torch.arange(self.num_images if split == "train" else self.num_images // 4) % 2
        columns = torch.arange(shape[2])[None] // (labels[:, None] + 1) % 2
        images = (255 * columns)[:, None, None].expand(-1, *shape)
        return Images(images.contiguous().to(torch.uint8), labels)
