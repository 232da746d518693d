"""The Trainer's device, strategy and processes."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.trainer import check_gpus, check_processes, choose_strategy, resolve_device


def test_processes_must_be_those_of_the_configuration(monkeypatch):
    assert check_processes("auto", 1) == 1
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert check_processes(2, 2) == 2
    with pytest.raises(UserError, match=r"trainer.devices=4, but 2 processes were started on this node"):
        check_processes(4, 2)
    with pytest.raises(UserError, match=r"trainer.num_nodes=1 with 2 processes each, but 4 were started in all"):
        check_processes("auto", 1)


def test_every_process_must_see_a_gpu_for_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_gpus(1)
    with pytest.raises(UserError, match=r"2 processes were started on this node, but each sees 1 of its GPUs"):
        check_gpus(2)


def test_one_process_needs_no_strategy():
    assert choose_strategy("auto", 1) == "auto"
    assert type(choose_strategy("auto", 2)).__name__ == "DDPStrategy"
    assert type(choose_strategy("fsdp", 1)).__name__ == "ShardedStrategy"
    with pytest.raises(UserError, match=r"trainer.strategy=ddp2 must be auto, ddp or fsdp"):
        choose_strategy("ddp2", 2)


def test_an_unknown_accelerator_is_refused():
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(UserError, match=r"trainer.accelerator=mps must be auto, cpu or gpu"):
        resolve_device("mps")
