"""Send grids of samples to loggers, each by the method that its class has for pictures."""

from functools import singledispatch
from typing import Any

from lightning.pytorch.loggers import CometLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor


def send_samples(logger: Any, sheet: Tensor, images: Tensor, labels: Tensor | None, step: int) -> None:
    """Send a grid of samples, (3, height, width) and uint8, to a logger.

    One that has `log_samples` gets the images (n, C, H, W) too, and their labels (n,) or None.
    """
    if hasattr(logger, "log_samples"):
        logger.log_samples(sheet, images, labels, step)
    else:
        send_picture(logger, "samples", sheet, step)


def send_picture(logger: Any, name: str, picture: Tensor, step: int) -> None:
    """Send a picture (3, height, width), uint8, to a logger that can show it; to others nothing.

    A logger of ours, or of the user's own, has `log_picture(name, picture, step)`.
    """
    if hasattr(logger, "log_picture"):
        logger.log_picture(name, picture, step)
    else:
        _send(logger, name, picture, step)


def pixels(picture: Tensor) -> Any:
    """Return a picture as an array (height, width, 3), as most libraries take it."""
    return picture.permute(1, 2, 0).numpy()


@singledispatch
def _send(logger: Any, name: str, picture: Tensor, step: int) -> None:
    """Send a picture to one of Lightning's loggers. Lightning has no way for pictures in those without a line below."""


@_send.register
def _(logger: TensorBoardLogger, name: str, picture: Tensor, step: int) -> None:
    logger.experiment.add_image(name, picture, step)


@_send.register
def _(logger: MLFlowLogger, name: str, picture: Tensor, step: int) -> None:
    logger.experiment.log_image(logger.run_id, pixels(picture), key=name, step=step)


@_send.register
def _(logger: WandbLogger, name: str, picture: Tensor, step: int) -> None:
    logger.log_image(name, [pixels(picture)], step)


@_send.register
def _(logger: CometLogger, name: str, picture: Tensor, step: int) -> None:
    logger.experiment.log_image(pixels(picture), name=name, step=step)
