"""The check that all ranks have the same configuration; with real ranks: tests/robustness/test_ranks.py."""

from types import SimpleNamespace

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.callbacks.same_config import SameConfig


def trainer(world_size, *others):
    """A trainer whose other ranks have these hashes."""

    def reduce(value, reduce_op):
        assert reduce_op == "max"
        sign = 1 if value > 0 else -1
        return max([value.clone(), *(sign * torch.tensor([int(other, 16)]) for other in others)])

    strategy = SimpleNamespace(root_device=torch.device("cpu"), reduce=reduce)
    return SimpleNamespace(world_size=world_size, strategy=strategy, default_root_dir="runs/one")


def test_the_same_configuration_passes():
    SameConfig("abc123").on_fit_start(trainer(1), None)
    SameConfig("abc123").on_fit_start(trainer(2, "abc123"), None)


@pytest.mark.parametrize("other", ["abc122", "abc124"])
def test_another_configuration_is_refused(other):
    with pytest.raises(UserError, match=r"runs/one/config.yaml is not the same for every rank"):
        SameConfig("abc123").on_fit_start(trainer(2, other), None)
