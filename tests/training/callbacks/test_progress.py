"""The progress bar."""

from types import SimpleNamespace

import pytest

from inkwash.errors import UserError
from inkwash.training.callbacks.progress import Progress


def test_a_log_file_gets_a_line_for_each_redraw(capsys):
    trainer = SimpleNamespace(max_steps=4, global_step=0, is_global_zero=True)
    latest = {"train/loss": 0.5, "train/images_per_second": 80.0}
    module = SimpleNamespace(latest=latest, scores={"fd_test_8": 1.25})
    bar = Progress(log_seconds=0.0)
    bar.on_train_start(trainer, module)
    for step in (1, 1, 2, 3, 4):  # two micro-batches in the first step
        trainer.global_step = step
        bar.on_train_batch_end(trainer, module, None, None, 0)
    bar.on_train_end(trainer, module)
    lines = capsys.readouterr().err.splitlines()
    assert "training   0%" in lines[0]
    assert "4/4 steps" in lines[-1]
    assert "loss 0.5000, 80 images/s, fd_test_8 1.25" in lines[-1]
    assert all("\r" not in line for line in lines)


def test_a_negative_interval_is_refused():
    with pytest.raises(UserError, match=r"callbacks.progress.log_seconds=-1 must not be negative"):
        Progress(-1)
