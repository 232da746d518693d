"""What self.log is given reaches metrics.csv at its step."""

import pytest

from support.training import QUIET, rows

OWN = ("+callbacks.own={_target_: support.parts.Logging}", *QUIET)
FOUR = ("trainer.max_steps=8", "+trainer.options.log_every_n_steps=4", "data.batch_size=8")


def own(directory):
    """Return {step: {name: value}}."""
    found = {int(r["step"]): {n: v for n, v in r.items() if n.startswith("own/")} for r in rows(directory)}
    return {step: values for step, values in found.items() if values}


def test_a_value_is_in_the_row_of_its_step(fit_run):
    """The first time and every fourth step, or, as it comes more rarely, each time; no epoch, no step between."""
    directory, trainer, _ = fit_run("run", *OWN, *FOUR)
    assert own(directory) == {
        1: {"own/start": 0, "own/end": 1},
        3: {"own/third": 3},
        4: {"own/start": 3, "own/end": 4},
        6: {"own/third": 6},
        8: {"own/start": 7, "own/end": 8, "own/last": 8},
    }
    assert not any("epoch" in name for row in rows(directory) for name in row)
    assert trainer.callback_metrics["own/quiet"] == 1


def test_micro_batches_are_one_step(fit_run):
    directory, _, _ = fit_run("run", *OWN, *FOUR, "trainer.accumulate_grad_batches=2")
    assert sorted(own(directory)) == [1, 3, 4, 6, 8]
    assert own(directory)[4] == {"own/start": 3, "own/end": 4, "own/third": 3}  # of its first part, after step 3


@pytest.mark.slow
def test_a_resumed_run_logs_what_an_uninterrupted_one_logs(fit_run):
    whole, _, _ = fit_run("whole", *OWN, *FOUR)
    steps = ("learning_rate.total_steps=8", "callbacks.checkpoint.every_n_steps=2")
    fit_run("parts", *OWN, *FOUR, *steps, "trainer.max_steps=2")
    parts, _, _ = fit_run("parts", *OWN, *FOUR, *steps)
    first, again = own(whole), own(parts)
    assert again.pop(2) == {"own/last": 2}  # of its first end
    assert again == first
