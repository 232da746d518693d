"""How a network computes: its precision, the memory format of its weights, and the CPU threads.

A training chooses where its configuration leaves it to `auto` (mode_choice.py). Each checkpoint holds the mode, and a
resumed run goes on in it bit for bit; what is drawn with the run later is drawn in its precision and memory format
where the device is of the same kind.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from inkwash.errors import UserError
from inkwash.training.precision import bf16_is_native, check_precision, is_auto, resolve_precision
from inkwash.training.threads import check_threads, cores, sharing

log = logging.getLogger("inkwash")

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class ComputeMode:
    """How the network computes.

    Attributes:
        device: cpu or cuda.
        precision: one of Lightning's.
        memory_format: contiguous or channels_last, the order of an image's values in memory.
        threads: of each process on a CPU.
    """

    device: str
    precision: str
    memory_format: str
    threads: int

    def plain(self) -> dict[str, Any]:
        """The mode as plain types, for checkpoints and run.json."""
        return asdict(self)

    @classmethod
    def stored(cls, plain: Mapping[str, Any] | None) -> "ComputeMode | None":
        """Return the mode of a checkpoint; None for one of an older version."""
        return None if not plain else cls(**plain)

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.device == "cpu" else ""
        return f"{self.precision}, {self.memory_format}{threads}"

    def arrange(self, *modules: nn.Module) -> None:
        """Put the weights of denoisers in this memory format; their values stay."""
        for module in modules:
            module.to(memory_format=FORMATS[self.memory_format])


def simplest(trainer: Mapping[str, Any], device: torch.device, processes: int) -> ComputeMode:
    """Return what the configuration asks for, and the simplest mode where it asks for nothing.

    Raises:
        UserError: there is no such memory format or number of threads.
    """
    memory_format, threads = trainer.get("memory_format", "auto"), trainer["threads"]
    if memory_format not in ("auto", *FORMATS):
        raise UserError(f"trainer.memory_format={memory_format} must be auto, {' or '.join(FORMATS)}")
    check_threads(threads)
    check_precision(precision := trainer["precision"])
    if is_auto(precision):
        precision = "bf16-mixed" if device.type == "cuda" and bf16_is_native(device) else "32-true"
    return ComputeMode(
        device.type,
        precision,
        "contiguous" if memory_format == "auto" else memory_format,
        threads or max(1, cores() // sharing(processes)),
    )


def mode_of_old_runs(trainer: Mapping[str, Any], device: torch.device, processes: int) -> ComputeMode:
    """Return the mode of a run whose checkpoint does not say it: that of the version which timed nothing."""
    threads = trainer["threads"] or max(1, torch.get_num_threads() // processes)
    return ComputeMode(device.type, resolve_precision(trainer["precision"], device), "contiguous", threads)


def precision_to_draw(trainer: Mapping[str, Any], known: ComputeMode | None, device: torch.device) -> str:
    """Return the precision in which a run's networks draw.

    Args:
        trainer: of the run's configuration, or what the command says instead.
        known: the mode of its checkpoint; None for one of an older version.
    """
    if known is None:
        return resolve_precision(trainer["precision"], device)
    if is_auto(trainer["precision"]) and known.device == device.type:
        return known.precision
    return simplest({**trainer, "threads": 1}, device, 1).precision
