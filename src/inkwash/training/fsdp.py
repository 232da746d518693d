"""Fully sharded data parallelism (FSDP; Zhao et al. 2023): each rank holds a part of the network.

A part of every parameter, and of its gradient and optimizer state; a rank gathers the whole of a stage when it computes
with it.
"""

from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.utils._pytree import tree_map

from inkwash.errors import UserError


class ShardedStrategy(DDPStrategy):
    """Lightning strategy that shards the trained network, stage by stage, with torch's FSDP2.

    Averages stay whole on every rank: each rank generates its own images with them, and not the same number as others,
    which a sharded network could not do. So each step gathers the weights once more. Checkpoints hold whole tensors, as
    without FSDP.
    """

    def configure_ddp(self) -> None:
        """Shard the network; Lightning calls this with it on its device, before there is an optimizer."""
        from torch.distributed.fsdp import fully_shard  # half a second, which every other training does without

        module: Any = self.lightning_module
        refuse_what_needs_the_whole(module)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        net = module.denoiser.net
        for stages in (child for child in net.children() if isinstance(child, nn.ModuleList)):
            for stage in stages:
                fully_shard(stage, mesh=mesh)
        fully_shard(net, mesh=mesh)

    @contextmanager
    def block_backward_sync(self):
        """Add up whole gradients, without exchange, over all micro-batches of a step but the last."""
        module: Any = self.lightning_module
        net = module.denoiser.net
        net.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            net.set_requires_gradient_sync(True)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return tree_map(_whole, super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: Any) -> dict[str, Tensor]:
        return tree_map(_whole, super().optimizer_state(optimizer))

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        for optimizer, stored in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {i: _cut(state, parameters[i]) for i, state in stored["state"].items()}
            optimizer.load_state_dict({**stored, "state": parts})


def refuse_what_needs_the_whole(module: Any) -> None:
    """Raise UserError for callbacks that need the raw weights whole, and for a loss with parameters of its own."""
    for name, callback in module.config["callbacks"].items():
        if "raw" in (callback.get("weights") or ()):
            raise UserError(
                f"callbacks.{name}.weights={callback['weights']}: with trainer.strategy=fsdp no rank has the raw "
                "weights whole: measure averages during training, and raw weights with inkwash.evaluate"
            )
    if next(module.loss.parameters(), None) is not None:
        raise UserError("trainer.strategy=fsdp cuts up the network alone: a loss or weighting that learns needs ddp")


def whole(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Gather sharded tensors. All ranks must call this together; other tensors are returned as they are."""
    return [_whole(tensor) for tensor in tensors]


def is_sharded(value: Any) -> bool:
    """Tell a DTensor, without importing its class, which takes half a second."""
    return hasattr(value, "full_tensor")


def _whole(value: Any) -> Any:
    return value.full_tensor() if is_sharded(value) else value


def _cut(state: dict[str, Any], parameter: Any) -> dict[str, Any]:
    """Shard an optimizer's state of a parameter as the parameter is sharded."""
    if not is_sharded(parameter):
        return state
    from torch.distributed.tensor import distribute_tensor

    return {
        name: distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
        if isinstance(value, Tensor) and value.shape == parameter.shape
        else value
        for name, value in state.items()
    }
