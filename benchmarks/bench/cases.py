"""The workloads: a data set, a network and a batch, as overrides of `inkwash train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Not part of a step: what happens every thousand steps, and the extractor that it prepares.
WITHOUT = ("~callbacks.evaluation", "~callbacks.samples", "~callbacks.heldout", "~callbacks.checkpoint", "logger=csv")


@dataclass(frozen=True)
class Case:
    """One workload.

    Attributes:
        name: in tables.
        overrides: data, network and batch.
        noise: True for images of noise, of the shape that the overrides give, in place of the digits.
    """

    name: str
    overrides: tuple[str, ...] = ()
    noise: bool = False

    def but(self, name: str, *overrides: str) -> "Case":
        """Return this case with more overrides."""
        return Case(name, (*self.overrides, *overrides), self.noise)

    def prepared(self, folder: Path, images: int = 512) -> "Prepared":
        """Write its training images as PNG files, which peers read, and compose its configuration."""
        from omegaconf import OmegaConf

        from inkwash import compose

        pictures = folder / "images"
        more = ("data=folder", f"data.path={pictures}") if self.noise else ()
        config: Any = OmegaConf.to_container(compose(*more, *self.overrides), resolve=True)
        if not pictures.exists():
            _write(config["data"]["shape"], pictures, images if self.noise else None)
        return Prepared(self, (*more, *self.overrides), config, pictures)


@dataclass(frozen=True)
class Prepared:
    """A workload whose images are on disk.

    Attributes:
        overrides: of `inkwash train`.
        config: what they compose to, as plain types.
        images: the folder of its training images.
    """

    case: Case
    overrides: tuple[str, ...]
    config: dict[str, Any]
    images: Path

    @property
    def options(self) -> dict[str, Any]:
        """Return the settings that a loop of side.py gets."""
        keys = ("model", "schedule", "prediction", "data", "seed")
        return {"config": {key: self.config[key] for key in keys}, "images": str(self.images)}


def _write(shape: list[int], folder: Path, noise: int | None) -> None:
    """Write the digits for training, or so many images of noise."""
    import numpy as np
    from PIL import Image

    from inkwash.data.digits import Digits

    if noise is None:
        pixels = Digits().load("train", (1, 8, 8)).images.numpy()
    else:
        pixels = np.random.default_rng(0).integers(0, 256, (noise, *shape), dtype=np.uint8)
    folder.mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(folder / f"{i:05d}.png")


DIGITS = Case("digits, as shipped")
ADAMW = "optimizer=adamw"  # as the peers have, where the networks are compared
# Ho et al.'s network for CIFAR-10, a quarter as wide and as it is. Without dropout, which one of the peers has not.
SMALL = Case(
    "2.25M at 32x32, B=16",
    ("model=unet_cifar10", "model.channels=32", "model.dropout=0", "data.shape=[3,32,32]", "data.batch_size=16", ADAMW),
    noise=True,
)
CIFAR = SMALL.but("35.7M at 32x32, B=16", "model.channels=128")
TINY = Case("tiny", ("model.channels=8", "model.channel_mult=[1]", "data.batch_size=16"))
