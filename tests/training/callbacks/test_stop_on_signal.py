"""A signal ends the training after the step; with real processes: tests/robustness/test_signals.py."""

import os
import signal
from types import SimpleNamespace

import pytest

from inkwash.training.callbacks.stop_on_signal import StopOnSignal, Stopped


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
