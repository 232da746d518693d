"""Choose the scale of classifier-free guidance, and what follows from it."""

from torch import nn

from inkwash.errors import UserError
from inkwash.guidance import NO_LABELS, ClassifierFree

DEFAULT_SCALE = 1.5  # for grids and sampling, which favour fidelity over variety


def scale_of(asked: float | None, num_classes: int | None, label_dropout: float) -> float:
    """Return the scale of classifier-free guidance: the one asked for, or DEFAULT_SCALE if the network allows it.

    Raises:
        UserError: the network was not trained both with labels and, by label_dropout, without.
    """
    both = num_classes is not None and label_dropout > 0
    if asked is None:
        return DEFAULT_SCALE if both else 1.0
    if asked != 1 and num_classes is None:
        raise UserError(NO_LABELS)
    if asked != 1 and not both:
        raise UserError(
            f"guidance={asked:g} needs a network that was also trained without labels, and this one was not "
            "(loss.label_dropout=0): train with loss.label_dropout=0.1, or pass guidance=1"
        )
    return asked


def at_a_time(images: int, scale: float) -> int:
    """Return how many images may be sampled at a time if the network may be given `images`: half of them if guided."""
    return images if scale == 1 else max(1, images // 2)


def guided(denoiser: nn.Module, scale: float) -> nn.Module:
    """Return the denoiser with classifier-free guidance, or itself at scale 1, where guidance changes nothing."""
    return denoiser if scale == 1 else ClassifierFree(denoiser, scale)
