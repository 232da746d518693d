"""Check before the first step that a network can be called as it will be, and gives what the loss compares."""

import copy
import inspect
import logging
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.training.flops import trial_device
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)

IMAGES = 2  # of the batch: a BatchNorm refuses one


def check_network(module: DiffusionModule, shape: tuple[int, ...], classes: int | None, name: str) -> None:
    """Call a copy of the network on a tiny batch; the module and the random numbers stay as they are.

    Args:
        shape: (C, H, W) of an image.
        classes: of the data; None without.
        name: of the network, for messages.

    What a network raises is left for the training, whose traceback shows where.

    Raises:
        UserError: it cannot be called with (x, time, y), or its output is not a floating-point tensor of the images'
            shape (n, C, H, W), or (n, 2 C, H, W) with a loss that learns the variance.
    """
    net: Any = module.denoiser.net
    _check_arguments(net, name)
    images = (IMAGES, *shape)
    for device in dict.fromkeys((trial_device(net, shape), "cpu")):  # with numbers only if the network reads some
        try:
            out = _output(net, images, torch.device(device))
        except Exception:
            continue
        _check_output(out, images, module.loss.learns_variance, name)
        break
    if classes is not None and not hasattr(net, "num_classes"):
        log.warning(
            "classes      %s has no attribute num_classes: it is trained without the %d classes of the data; set "
            "self.num_classes=%d and use y, or pass data.num_classes=null",
            name, classes, classes,
        )  # fmt: skip


def _check_arguments(net: nn.Module, name: str) -> None:
    if getattr(type(net), "forward", nn.Module.forward) is nn.Module.forward:
        raise UserError(f"{name} has no forward: write forward(self, x, time, y=None)")
    try:
        signature = inspect.signature(net.forward)
    except ValueError:  # of a compiled class
        return
    if getattr(net, "two_times", False) and "until" not in signature.parameters:
        raise UserError(
            f"{name} has two_times=True, but forward{signature} has no argument until: write "
            "forward(self, x, time, y=None, until=None), where until=None means time"
        )
    try:
        signature.bind("x", "time", "y")
    except TypeError as error:
        raise UserError(
            f"{name}: forward{signature} cannot be called as forward(x, time, y) ({error}): write "
            "forward(self, x, time, y=None), where y is None for a network without classes"
        ) from error


@torch.no_grad()
def _output(net: nn.Module, images: tuple[int, ...], device: torch.device) -> Any:
    """Return what a copy of the network gives for images of zeros."""
    with torch.random.fork_rng(devices=[]), device:
        twin = copy.deepcopy(net).to(device)
        y = None if getattr(net, "num_classes", None) is None else torch.zeros(images[0], dtype=torch.long)
        return twin(torch.zeros(images), torch.zeros(images[0]), y)


def _check_output(out: Any, images: tuple[int, ...], learns_variance: bool, name: str) -> None:
    n, channels, *size = images
    wanted = (n, channels * (2 if learns_variance else 1), *size)
    if not isinstance(out, Tensor):
        raise UserError(
            f"{name} returns {type(out).__name__}, not a tensor: return the tensor of shape {_shown(wanted)} alone, "
            f"for images of shape {_shown(images)}"
        )
    if not out.is_floating_point():
        raise UserError(f"{name} returns {out.dtype}, not floating point: return the float32 output of its last layer")
    if out.shape == wanted:
        return
    advice = "return the shape of the images"
    if learns_variance:
        advice = "return twice the channels, because the loss learns the variance (model.learn_variance)"
    elif out.shape == (n, 2 * channels, *size):
        advice = "return half the channels, or learn the variance with the other half, by loss=hybrid"
    raise UserError(f"{name} returns shape {_shown(out.shape)} for images of shape {_shown(images)}: {advice}")


def _shown(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
