"""Parameters without a gradient; in trainings: tests/robustness/test_guards.py."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from inkwash.errors import UserError
from inkwash.training.callbacks.unused_parameters import IdleParameters


class Module(nn.Module):
    """Two layers, and an average that follows the first alone."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.denoiser = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("used", "unused", "stands")})
        self.ema_denoiser = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("used", "unused", "stands")})


def test_unused_parameters_and_a_standing_average_are_named(caplog):
    module, trainer, callback = Module(), SimpleNamespace(global_step=0), IdleParameters(after_steps=2)
    optimizer = torch.optim.SGD(module.denoiser.parameters(), lr=0.1)
    callback.on_train_start(trainer, module)
    with caplog.at_level(logging.WARNING, "inkwash"):
        for step in (1, 2):
            module.denoiser["stands"](module.denoiser["used"](torch.ones(1, 1))).sum().backward()
            callback.on_before_optimizer_step(trainer, module, optimizer)
            optimizer.step()
            module.ema_denoiser["used"].weight.data += 0.1
            trainer.global_step = step
            callback.on_train_batch_end(trainer, module, None, None, 0)
    idle, still = (record.getMessage() for record in caplog.records)
    assert idle == "idle         no gradient has reached denoiser.unused.weight in 2 steps"
    assert still == (
        "idle         the average of denoiser.stands.weight did not change in 2 steps, although the weights did: "
        "lower ema.decay or ema.exponent"
    )


def test_it_needs_at_least_one_step():
    with pytest.raises(UserError, match=r"callbacks.idle.after_steps=0 must be at least 1"):
        IdleParameters(0)
