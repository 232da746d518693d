"""A loss that is not finite; further cases are in tests/robustness/test_guards.py."""

import pytest

from inkwash.errors import UserError
from support.training import NO_METRIC, checkpoint


def test_nan_loss_names_step_and_times_and_saves_nothing(fit_run, tmp_path):
    ruin = "+callbacks.ruin={_target_: support.parts.Ruin, step: 5}"
    said = r"step 6 \(t from \d+ to \d+, precision 32-true\).*last good checkpoint"
    with pytest.raises(UserError, match=said) as failed:
        fit_run("run", NO_METRIC, ruin, "trainer.max_steps=12", "callbacks.guard.every_n_steps=3")
    assert "try trainer.precision" not in str(failed.value)  # there is none with more bits to try
    state = checkpoint(tmp_path / "run")
    assert state["global_step"] == 4
    assert all(bool(value.isfinite().all()) for value in state["state_dict"].values())
