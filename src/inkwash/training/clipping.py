"""Clip the norm of a gradient."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inkwash.training.fsdp import is_sharded, whole


def clip_norm(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scale all gradients by min(1, most / (norm + 1e-6)), and return the norm from before, ().

    These are the operations of nn.utils.clip_grad_norm_, and to the last bit its results, without its grouping of
    tensors by device and dtype, which takes a third of a millisecond; where there are several of these, or parts of
    tensors on several ranks, it is called.

    Args:
        parameters: those without a gradient do not count.
        most: greatest norm of all gradients together; infinity to scale nothing.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    kinds = {(gradient.device, gradient.dtype, is_sharded(gradient)) for gradient in gradients}
    if len(kinds) != 1 or next(iter(kinds))[2]:
        return whole([nn.utils.clip_grad_norm_(parameters, most)])[0]
    norm = torch.linalg.vector_norm(torch.stack([*torch._foreach_norm(gradients, 2.0)]))
    if most < math.inf:
        torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm
