"""When the runs of loggers begin."""

import pytest

from inkwash.errors import UserError
from support.parts import Noting
from support.training import NO_METRIC

NODE = "+logger.mine._target_=support.parts.Noting"


@pytest.fixture
def asked():
    Noting.asked.clear()
    return Noting.asked


def test_the_configuration_comes_after_the_first_step_and_before_its_values(fit_run, asked):
    fit_run("run", NODE, NO_METRIC, "callbacks.log.every_n_steps=1", "trainer.max_steps=2")
    assert asked[:3] == ["configuration", 1, 2]


def test_a_start_that_fails_asks_for_nothing(fit_run, asked):
    with pytest.raises(UserError, match="guidance"):
        fit_run("run", NODE, "callbacks.evaluation.guidance=3", "loss.label_dropout=0")
    assert asked == []
