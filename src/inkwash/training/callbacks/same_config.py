"""Check that all ranks have the same configuration."""

from typing import Any

import lightning as L
import torch

from inkwash.errors import UserError


class SameConfig(L.Callback):
    """Raises UserError before the first step unless every rank has read the same configuration.

    Another start of the same run may have rewritten the file in between, or another machine may have another file.

    Args:
        config_hash: of this rank's configuration, at most 15 hexadecimal digits.
    """

    def __init__(self, config_hash: str):
        self.config_hash = config_hash

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.world_size == 1:
            return
        mine = torch.tensor([int(self.config_hash, 16)], device=trainer.strategy.root_device)
        low, high = (int(trainer.strategy.reduce(sign * mine, reduce_op="max")) * sign for sign in (-1, 1))
        if low != high:
            raise UserError(
                f"{trainer.default_root_dir}/config.yaml is not the same for every rank: is another process starting "
                "there, or does every machine have a directory of its own of that name?"
            )
