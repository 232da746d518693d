"""Interface of a network: all that denoisers, training and export use of it."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn


class Network(Protocol):
    """A network that maps x_t, a time and perhaps a class to an output of the image's shape: an nn.Module.

    Three things are up to it:

    - `augment_dim`, a number k, and an argument `augment`, (n, k): what was done to each image before it was noised,
      zeros for nothing (data/augment.py). Only a training with an augmentation gives it, by name; no sampler does.
    - `two_times`, True, and an argument `until`, (n,): the time at which a step from x_t ends, of the range of `time`;
      None for `time` itself, an estimate at x_t alone. Losses that train steps and samplers that jump give it, by name.
    - a method `after_step()`, which the training calls after every optimizer step, once the averages have the weights.

    It may give twice as many channels as the image has: the second half are then the learned variance's
    (model.learn_variance; see process/variances.py). FSDP shards the entries of its nn.ModuleLists (training/fsdp.py),
    and torch.compile compiles them one by one where they are equal (training/compile.py). Muon leaves the parameters to
    AdamW that an attribute `not_hidden` names (muon.py).

    Attributes:
        num_classes: number of classes, None for an unconditional network.
    """

    num_classes: int | None

    def __call__(self, x: Tensor, time: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the output (n, C, H, W) or (n, 2 C, H, W) at x (n, C, H, W), time (n,), labels y (n,) or None.

        Args:
            time: float32, of the range that Schedule.time_input gives, about 0 to 1000.
            y: int64, -1 for no label; None for no label of any image.
        """
        ...

    # An nn.Module has these.
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Any: ...
