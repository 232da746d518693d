"""Non-leaky augmentation: geometric changes of training images whose numbers the network is told.

Karras et al. 2022 (EDM), appendix F.2, after Karras et al. 2020 (StyleGAN2-ADA): the network learns the augmented
images under their numbers, and with zeros for the numbers it draws images that are not augmented. So nothing leaks, and
a small set of images trains longer before the network memorises it.

The numbers are the network's argument `augment`; `model.augment_dim` says how many it takes.
"""

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inkwash.errors import UserError
from inkwash.random import Draws

# Of log2 of a scale, and of a shift as a share of the side: standard deviations.
SCALE, STRETCH, SHIFT = 0.2, 0.2, 0.125
AXIS = 0.5  # probability that a stretch has an axis of its own, not the horizontal one


class Augment:
    """EDM's augmentation of six kinds, in this order, each of an image with probability p except for the first:

    | kind | drawn | numbers told |
    |---|---|---|
    | flip left and right, always considered | a bit | the bit |
    | flip upside down | a bit | the bit |
    | scale by 2^(0.2 w) | w ~ N(0, 1) | w |
    | turn by theta counter-clockwise | theta ~ U(-pi, pi) | cos theta - 1, sin theta |
    | stretch by 2^(0.2 w) along phi, 2^(-0.2 w) across | w ~ N(0, 1), phi = 0 or U(-pi, pi) | w cos phi, w sin phi |
    | shift by w_x / 8 of the width to the right, w_y / 8 of the height down | w ~ N(0, 1)^2 | w_x, w_y |

    An image that none of the last four changes keeps its pixels exactly. Others are interpolated bicubically (EDM
    filters with wavelets), and continue beyond their edges as in a mirror.

    Args:
        p: probability, 0 to 1. EDM has 0.12 for CIFAR-10 and 0.15 for FFHQ and AFHQ at 64 x 64.

    Attributes:
        dim: numbers told of each image.

    Raises:
        UserError: p lies outside [0, 1].
    """

    dim = 9

    def __init__(self, p: float = 0.12):
        if not 0 <= p <= 1:
            raise UserError(f"augment.p={p} must lie between 0 and 1")
        self.p = p

    def __call__(self, x_0: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return augmented images (n, C, H, W) and what was done to each, float32, (n, 9).

        Args:
            x_0: images in [-1, 1].
            draws: their random numbers, the same amount for each image.
        """
        n = len(x_0)
        chosen = draws.uniform(n, 5) < self.p
        flips = (draws.uniform(n, 2) < 0.5) & torch.stack([torch.full_like(chosen[:, 0], self.p > 0), chosen[:, 0]], 1)
        theta, phi = (math.pi * (2 * draws.uniform(n, 2) - 1)).float().unbind(1)
        phi = torch.where(draws.uniform(n) < AXIS, phi, 0)
        scale, stretch, right, down = draws.normal(n, 4).unbind(1)

        scale, theta, stretch = (torch.where(chosen[:, i + 1], w, 0) for i, w in enumerate((scale, theta, stretch)))
        shift = torch.where(chosen[:, 4:], torch.stack([right, down], 1), 0)
        told = [*flips.float().unbind(1), scale, theta.cos() - 1, theta.sin()]
        told += [stretch * phi.cos(), stretch * phi.sin(), *shift.unbind(1)]

        flipped = torch.where(flips[:, 0].view(-1, 1, 1, 1), x_0.flip(3), x_0)
        flipped = torch.where(flips[:, 1].view(-1, 1, 1, 1), flipped.flip(2), flipped)
        size = _pair(shift, x_0.shape[3], x_0.shape[2])
        moved = warp(
            flipped, inverse_of(2 ** (SCALE * scale), theta, 2 ** (STRETCH * stretch), phi, SHIFT * shift * size)
        )
        return torch.where(chosen[:, 1:].any(1).view(-1, 1, 1, 1), moved, flipped), torch.stack(told, 1)


def inverse_of(scale: Tensor, theta: Tensor, stretch: Tensor, phi: Tensor, shift: Tensor) -> Tensor:
    """Return the affine map from a pixel of the changed image to where it comes from, (n, 2, 3).

    Positions are (x, y) in pixels from the image's centre, x to the right and y down. The change scales, turns by theta
    counter-clockwise, stretches by `stretch` along the axis phi and by 1 / stretch across it, then shifts.

    Args:
        scale, theta, stretch, phi: (n,).
        shift: to the right and down, in pixels, (n, 2).
    """
    diagonal = torch.stack([1 / stretch, stretch], 1).diag_embed()
    linear = _turn(theta) / scale.view(-1, 1, 1) @ _turn(-phi) @ diagonal @ _turn(phi)
    return torch.cat([linear, -linear @ shift.unsqueeze(2)], dim=2)


def warp(x: Tensor, inverse: Tensor) -> Tensor:
    """Return images (n, C, H, W) whose pixel at position p is x at inverse p, (n, 2, 3); see `inverse_of`.

    Bicubic interpolation; beyond the edges x is mirrored at the centres of its outermost pixels.
    """
    n, _, height, width = x.shape
    centre = _pair(x, (width - 1) / 2, (height - 1) / 2)
    rows, columns = (torch.arange(side, device=x.device, dtype=x.dtype) for side in (height, width))
    y, x_right = torch.meshgrid(rows - centre[1], columns - centre[0], indexing="ij")
    places = torch.stack([x_right, y, torch.ones_like(y)], -1).view(1, -1, 3) @ inverse.to(x.dtype).mT
    # grid_sample counts from -1 to 1 between the centres of the outermost pixels.
    grid = (places / centre.clamp(min=0.5)).view(n, height, width, 2)
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=True)


def check_augment(augment: Augment | None, net: Any, loss: Any) -> None:
    """Raise UserError if the network, or a loss before it, cannot be told what an augmentation does."""
    if augment is None:
        return
    if "augment" not in inspect.signature(loss.objective).parameters:
        raise UserError(
            f"augment: {type(loss).__name__}.objective has no argument `augment` for the network: add it and give it "
            "to the denoiser, or pass augment=null"
        )
    takes = getattr(net, "augment_dim", None)
    if takes == augment.dim:
        return
    if takes is None:
        raise UserError(
            f"augment: {type(net).__name__} cannot be told how images were augmented, so it would draw such images: "
            "pass augment=null, or a model that can, as model=ddpmpp_small model.augment_dim=9"
        )
    raise UserError(
        f"model.augment_dim={takes}, but augment tells {augment.dim} numbers of each image: pass "
        f"model.augment_dim={augment.dim} or augment=null"
    )


def _pair(like: Tensor, a: float, b: float) -> Tensor:
    """Return (a, b) as a tensor (2,) of the same type and device, which a GPU fills; a copy would wait for it."""
    return torch.stack([like.new_full((), a), like.new_full((), b)])


def _turn(angle: Tensor) -> Tensor:
    """Return rotation matrices by an angle (n,): (n, 2, 2). In (x right, y down) they turn clockwise."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
