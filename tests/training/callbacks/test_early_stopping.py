"""Early stopping."""

import pytest

from inkwash.errors import UserError
from inkwash.training.callbacks.early_stopping import EarlyStopping
from support.training import QUIET


def test_early_stopping_waits_for_patience(fit_run):
    """2.0, then 1.0, then twice no better: patience 2 ends the run after step 4 of 9.

    One step later, because the fake comes after it in the order of callbacks.
    """
    fake = "+callbacks.fixed={_target_: support.parts.FixedScores, scores: {1: 2.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 0.5}}"
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=2", "~callbacks.heldout")
    monitor = "callbacks.early_stopping.monitor=fd"  # the beginning of fd_test_8
    _, trainer, _ = fit_run("run", *QUIET, fake, *stop, monitor, "trainer.max_steps=9")
    assert trainer.global_step == 5


def test_early_stopping_names_what_is_measured(fit_run):
    stop = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=fdi")
    with pytest.raises(UserError, match="monitor=fdi is never measured; this run measures heldout_loss"):
        fit_run("run", *QUIET, *stop)


def test_the_mode_is_min_or_max():
    with pytest.raises(UserError, match="mode=least"):
        EarlyStopping(mode="least")
