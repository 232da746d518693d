"""Add up snapshots of averaged weights to an average of another length (runs/averages.py says which)."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from inkwash.runs.averages import parts_of


def reconstruct(folder: Path, length: float, step: int) -> tuple[dict[str, Tensor], int]:
    """Return the parameters of the average of a length, float32 by name, and the step that it ends at.

    Args:
        folder: snapshots/ of a run.
        length: sigma_rel of the average.
        step: snapshots of later steps do not count.

    Raises:
        UserError: there are no snapshots, or they cannot give this length.
    """
    parts, end = parts_of(folder, length, step)
    total: dict[str, Tensor] = {}
    for snapshot, name, share in parts:
        with safe_open(snapshot.path, "pt") as file:
            for key in file.keys():  # noqa: SIM118, it is no dict
                average, _, parameter = key.partition(".")
                if average == name:
                    part = share * file.get_tensor(key).double()
                    total[parameter] = total[parameter] + part if parameter in total else part
    return {name: value.to(torch.float32) for name, value in total.items()}, end
