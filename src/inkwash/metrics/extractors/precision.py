"""Float32 arithmetic in full precision, whatever the training has chosen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 without autocast, and without shortcuts such as TF32; restore the process's settings after.

    TF32 keeps 10 of float32's 23 bits of the mantissa. Matrix products use it if torch.set_float32_matmul_precision
    says `high`, convolutions by default on Ampere and later: features would be others in training than in evaluation,
    and others from one card to the next.
    """
    legacy, switches = _legacy(), [(node, node.fp32_precision) for node in _backends()]
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        for node, _ in switches:  # the calls above leave convolutions to torch.backends.fp32_precision
            node.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy[0])
            torch.backends.cudnn.allow_tf32 = legacy[1]
        for node, precision in switches:
            node.fp32_precision = precision


def _legacy() -> tuple[str, bool] | None:
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set by the newer fp32_precision alone, which the older calls then refuse to read
        return None


def _backends() -> list[Any]:
    b: Any = torch.backends
    nodes = [b.cuda.matmul, b.cudnn.conv, b.cudnn.rnn, b.mkldnn.matmul, b.mkldnn.conv, b.mkldnn.rnn]
    return [node for node in nodes if hasattr(node, "fp32_precision")]
