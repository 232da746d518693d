"""A signal ends the training after the step; with real processes: tests/robustness/test_signals.py."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from inkwash.training.callbacks.stop_on_signal import Greatest, StopOnSignal, Stopped
from support.on_device import on_device


@pytest.fixture
def stop(monkeypatch):
    """The callback, started, and its trainer."""
    monkeypatch.delenv("INKWASH_TOLD", raising=False)
    trainer = SimpleNamespace(global_step=3, world_size=1, callbacks=[])
    callback = StopOnSignal()
    callback.on_train_start(trainer, None)
    yield callback, trainer
    callback.restore()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_after_the_step(stop, number):
    callback, trainer = stop
    os.kill(os.getpid(), number)
    callback.on_train_batch_end(trainer, None, None, None, 0)  # a micro-batch within the step
    trainer.global_step = 4
    with pytest.raises(Stopped) as ending:
        callback.on_train_batch_end(trainer, None, None, None, 1)
    assert ending.value.code == 128 + number


def test_the_handlers_of_before_are_restored(stop):
    callback, _ = stop
    during = signal.getsignal(signal.SIGTERM)
    callback.restore()
    assert signal.getsignal(signal.SIGTERM) != during


def test_without_a_signal_training_goes_on(stop):
    callback, trainer = stop
    trainer.global_step = 4
    callback.on_train_batch_end(trainer, None, None, None, 0)


# --- Several ranks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def other(monkeypatch):
    """other["has"]: the number of another rank."""
    numbers = {"has": 0}
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, op: tensor.clamp_(min=numbers["has"]))
    return numbers


def test_the_signal_of_another_rank_stops_this_one(stop, other):
    callback, trainer = stop
    trainer.world_size, trainer.strategy = 2, SimpleNamespace(root_device=torch.device("cpu"))
    trainer.global_step = 4
    callback.on_train_batch_end(trainer, None, None, None, 0)
    trainer.global_step, other["has"] = 5, signal.SIGTERM
    with pytest.raises(Stopped) as ending:
        callback.on_train_batch_end(trainer, None, None, None, 1)
    assert ending.value.code == 128 + signal.SIGTERM


def test_gpus_are_asked_without_waiting_for_them(other, monkeypatch):
    """What is read is the copy of the step before, once its event has come."""
    greatest, full, events = Greatest(torch.device("cpu")), torch.full, []
    greatest.late = True
    monkeypatch.setattr(torch, "full", lambda *args, **more: on_device(full(*args, **more)))
    monkeypatch.setattr(
        dist, "all_reduce", lambda tensor, op: torch.maximum(tensor, full((), other["has"]), out=tensor)
    )

    def copied(number):
        event = SimpleNamespace(synchronize=lambda: events.append(len(events)))
        return number.as_subclass(torch.Tensor).clone(), event

    monkeypatch.setattr(greatest, "_copied", copied)
    found = []
    for own, others in [(0, 0), (0, 15), (2, 0), (0, 0)]:
        other["has"] = others
        found.append(greatest(own))
    assert found == [0, 0, 15, 2]
    assert events == [0, 1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_asked_without_waiting_for_it():
    dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore(), device_id=torch.device("cuda:0"))
    try:
        greatest = Greatest(torch.device("cuda:0"))
        greatest(0)  # makes the communicator
        torch.cuda.set_sync_debug_mode("error")
        assert [greatest(number) for number in (15, 0, 0)] == [0, 15, 0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        dist.destroy_process_group()
