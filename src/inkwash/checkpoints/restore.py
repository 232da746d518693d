"""Adapt a loaded checkpoint to the current configuration."""

from typing import Any

import torch
from torch import nn

from inkwash.errors import UserError


def adapt(checkpoint: dict[str, Any], module: Any) -> None:
    """Replace what the current configuration decides: the optimizer's options, the learning rate, micro-batches.

    Args:
        checkpoint: what Lightning is going to restore; changed in place.
        module: the DiffusionModule.

    Raises:
        UserError: the state belongs to another model, objective or optimizer.
    """
    check_state(checkpoint["state_dict"], module)
    step = checkpoint["global_step"]
    # Of an optimizer's state its moments are restored, but not its options.
    mine = module.new_optimizer().param_groups
    states = checkpoint["optimizer_states"]
    if step and [_sizes(_groups(state)) for state in states] != [_sizes(mine)]:
        raise UserError("the checkpoint does not fit: it does not hold the state of one optimizer of these parameters")
    base = [group["lr"] for group in mine]
    rates = [rate * module.learning_rate(step) for rate in base]
    for state in states:
        for group, today, rate in zip(state["param_groups"], mine, rates, strict=True):
            options = {name: value for name, value in today.items() if name != "params"}
            group.update(options, initial_lr=today["lr"], lr=rate)
    for state in checkpoint["lr_schedulers"]:
        state.update(base_lrs=base, _last_lr=rates)
    if loops := checkpoint.get("loops"):
        # Lightning counts micro-batches, and derives from the count which part of a step comes next.
        done = step * module.trainer.accumulate_grad_batches
        progress = loops["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            # A checkpoint is written within the last micro-batch of a step, before that is completed.
            counts.update(ready=done, started=done, processed=done, completed=done - 1)


def _groups(state: Any) -> list[Any]:
    return state.get("param_groups", []) if isinstance(state, dict) else []


def _sizes(groups: list[Any]) -> list[int]:
    return [len(group["params"]) for group in groups]


def check_state(state: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Raise UserError unless names and shapes of a state are those of a module."""
    mine = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in state.items()}
    bad = next((name for name in {**mine, **stored} if mine.get(name) != stored.get(name)), None)
    if bad is None:
        return
    part = "loss, weighting and times" if bad.startswith("loss.") else "model"
    raise UserError(
        f"the checkpoint does not fit: {bad} has shape {stored.get(bad)} there and {mine.get(bad)} here; "
        f"keep {part} as they were, or start from its weights with run=NAME init_from=..."
    )
