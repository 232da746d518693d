"""Time forward and backward passes of a copy of a training's network in several compute modes, by turns."""

import copy
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from inkwash.random import Draws, generator
from inkwash.training.compute_mode import ComputeMode
from inkwash.training.precision import autocast

# Precisions whose weights are of another type; Lightning converts them later.
TRUE = {"bf16-true": torch.bfloat16, "64-true": torch.float64}
ROUNDS = 5
# A mode whose second pass takes this many times the shortest second pass is not timed again.
HOPELESS = 3.0


class Trial:
    """A copy of a training's network that takes steps in any mode.

    Args:
        module: the DiffusionModule.
        shape: of an image, (C, H, W).
        images: of a step.
        weights: type of the weights, of one of TRUE's precisions; None for float32.
    """

    def __init__(
        self,
        module: Any,
        shape: tuple[int, ...],
        images: int,
        device: torch.device,
        weights: torch.dtype | None = None,
    ):
        self.denoiser = copy.deepcopy(module.denoiser).to(device, weights).train()
        self.loss, self.device = copy.deepcopy(module.loss).to(device), device
        whole = torch.randn(images, *shape, generator=torch.Generator().manual_seed(0)).to(device, weights)
        self.whole, self.classes = whole, module.num_classes
        self.take(images)

    def take(self, images: int) -> None:
        """Pass so many images at a time, those of the batch at most."""
        self.x_0 = self.whole[:images]
        self.y = None if self.classes is None else torch.arange(len(self.x_0), device=self.device) % self.classes

    def seconds(self, mode: ComputeMode) -> float:
        """Return the time of a forward and backward pass; infinity if the network cannot compute in this mode.

        Or if there is no memory for it, of which other ranks may have more: nothing is raised on one rank alone.
        """
        torch.set_num_threads(mode.threads)
        mode.arrange(self.denoiser)
        try:
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                self._wait()
                start = time.perf_counter()
                with autocast(mode.precision, self.device):
                    draws = Draws([generator("speed")], self.device)
                    loss = self.loss(self.denoiser, self.x_0, self.y, draws).loss.mean()
                loss.backward()
                self._wait()
                return time.perf_counter() - start
        except (RuntimeError, NotImplementedError, MemoryError):  # no operator for bfloat16, a view of channels_last
            return math.inf
        finally:
            self.denoiser.zero_grad(set_to_none=True)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(trial: Trial, modes: Sequence[ComputeMode], seconds: float) -> dict[ComputeMode, float]:
    """Return the median time of a pass in each mode, taken by turns for so many seconds at most, all ranks together."""
    begun = [trial.seconds(mode) for mode in modes]  # prepares the kernels
    first = dict(zip(modes, agreed([trial.seconds(mode) for mode in modes]), strict=True))
    seconds -= sum(t for t in (*agreed(begun), *first.values()) if t < math.inf)
    least = min(first.values())
    hopeful = [mode for mode in modes if first[mode] < HOPELESS * least]
    if not hopeful:
        return first
    rounds = int(seconds / sum(first[mode] for mode in hopeful))
    rows = [[trial.seconds(mode) for mode in hopeful] for _ in range(max(1, min(rounds, ROUNDS)))]
    medians = agreed([statistics.median(column) for column in zip(*rows, strict=True)])
    return {**first, **dict(zip(hopeful, medians, strict=True))}


def agreed(values: list[float]) -> list[float]:
    """Return the greatest of each value over the ranks: a step takes as long as the slowest."""
    if not dist.is_initialized():
        return values
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor.tolist()
