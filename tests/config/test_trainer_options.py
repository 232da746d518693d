"""Every argument of Lightning's Trainer does what it says, or is refused with what to type."""

import inspect

import lightning as L
import pytest

from inkwash.config.trainer_options import HONOURED, INSTEAD, check_options
from inkwash.errors import UserError
from support.runs import composed


def test_every_argument_of_lightnings_trainer_is_in_one_table():
    arguments = set(inspect.signature(L.Trainer.__init__).parameters) - {"self"}
    assert arguments == HONOURED.keys() | INSTEAD.keys()
    assert not HONOURED.keys() & INSTEAD.keys()


@pytest.mark.parametrize("name", INSTEAD)
def test_an_argument_without_an_effect_is_refused_by_name(name):
    with pytest.raises(UserError, match=rf"trainer\.options\.{name} has no effect here: "):
        check_options({name: None})


def test_the_command_refuses_it_too():
    with pytest.raises(UserError, match=r"limit_train_batches has no effect here: .*pass trainer.max_steps"):
        composed("+trainer.options.limit_train_batches=0.1")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gradient_clip_algorithm": "median"}, "gradient_clip_algorithm=median must be norm or value"),
        ({"deterministic": "always"}, "deterministic=always must be true or false or warn"),
        ({"profiler": "xla"}, "profiler=xla must be simple or advanced or pytorch"),
        ({"overfit_batches": 0.1}, "overfit_batches=0.1 must be a whole number"),
        ({"overfit_batches": -1}, "overfit_batches=-1 must not be negative"),
        ({"max_time": 3}, "max_time=3 must be text or a mapping, each value a whole number"),
        *(
            ({"max_time": value}, "max_time=.* must be DD:HH:MM:SS, .* pass 00:02:00:00")
            for value in ("2h", "1:00:00", {"hour": 1}, {}, {"seconds": -1})
        ),
        ({"gradient_clip": "value"}, "is not an argument of Lightning's Trainer; did you mean gradient_clip_val"),
        ({"nope": 1}, "is not an argument of Lightning's Trainer: it has gradient_clip_algorithm"),
    ],
)
def test_a_value_of_another_type_is_named(options, sentence):
    with pytest.raises(UserError, match=rf"trainer\.options\.\w+.*{sentence}|{sentence}"):
        check_options(options)


@pytest.mark.parametrize("limit", ["00:02:00:00", "10:00:00:00", {"hours": 2, "seconds": 5}, None])
def test_a_limit_of_time_is_text_or_a_mapping(limit):
    check_options({"max_time": limit})


@pytest.mark.parametrize("accumulate", [2, "auto"])
def test_overfit_batches_are_whole_steps(accumulate):
    with pytest.raises(UserError, match=r"overfit_batches=1 must be a multiple of trainer\.accumulate_grad_batches"):
        check_options({"overfit_batches": 1}, accumulate)
    check_options({"overfit_batches": 4}, 2)


def test_the_cadence_of_lightnings_callbacks_needs_one_of_them():
    option = "+trainer.options.log_every_n_steps=1"
    with pytest.raises(UserError, match=r"there are none: pass callbacks\.log\.every_n_steps"):
        composed(option)
    assert composed(option, "+callbacks.device._target_=lightning.pytorch.callbacks.DeviceStatsMonitor")
