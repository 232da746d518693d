"""What a checkpoint gives back, made to obey the configuration of today."""

from typing import Any

import torch
from torch import nn

from inkwash.errors import UserError


def adapt(checkpoint: dict[str, Any], module: Any) -> None:
    """Have what Lightning restores obey the configuration of today: options of the optimizer, and micro-batches.

    Raises:
        UserError: the state is that of another objective.
    """
    check_state(checkpoint["state_dict"], module)
    step = checkpoint["global_step"]
    # Of an optimizer's state only what it has learnt is restored, not what it was told.
    told = module.optimizer([nn.Parameter(torch.zeros(()))]).defaults
    states = checkpoint["optimizer_states"]
    if step and [len(_groups(state)) for state in states] != [1]:
        raise UserError("the checkpoint does not fit: it has not the one optimizer that trains here")
    rate = told["lr"] * module.learning_rate(step)
    for state in checkpoint["optimizer_states"]:
        for group in state["param_groups"]:
            group.update(told, initial_lr=told["lr"], lr=rate)
    for state in checkpoint["lr_schedulers"]:
        state.update(base_lrs=[told["lr"]], _last_lr=[rate])
    if loops := checkpoint.get("loops"):
        # Lightning counts micro-batches, and takes the step's next one from the count.
        done = step * module.trainer.accumulate_grad_batches
        progress = loops["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            # A checkpoint is written within the last micro-batch of a step.
            counts.update(ready=done, started=done, processed=done, completed=done - 1)


def _groups(state: Any) -> list[Any]:
    return state.get("param_groups", []) if isinstance(state, dict) else []


def check_state(state: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Raise UserError unless the state fits the module, weight by weight."""
    mine = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in state.items()}
    odd = next((name for name in {**mine, **stored} if mine.get(name) != stored.get(name)), None)
    if odd is None:
        return
    part = "loss, weighting and times" if odd.startswith("loss.") else "model"
    raise UserError(
        f"the checkpoint does not fit: {odd} has shape {stored.get(odd)} there and {mine.get(odd)} here; "
        f"keep {part} as they were, or start from its weights with run=NAME init_from=..."
    )
