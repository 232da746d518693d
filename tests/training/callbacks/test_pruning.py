"""Pruned trials."""

import logging
from types import SimpleNamespace

import optuna
import pytest

from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from inkwash.sweeps.trial import open_storage, read_trial, write_trial
from inkwash.training.callbacks.pruning import Pruning


def make_trainer(directory, step=2):
    """A trainer of one rank after a step of 8."""
    strategy = SimpleNamespace(broadcast=lambda value: value)
    return SimpleNamespace(
        default_root_dir=str(directory), global_step=step, max_steps=8, is_global_zero=True, strategy=strategy,
        should_stop=False,
    )  # fmt: skip


def measured(step, value):
    return SimpleNamespace(lower_is_better={"fd_test_8": True}, scores={"fd_test_8": value}, scores_step=step)


@pytest.fixture
def study(tmp_path):
    """A study with one complete trial, of value 1 at step 2, and a running one, which is the run's."""
    storage = str(tmp_path / "study.log")
    made = optuna.create_study(storage=open_storage(storage), study_name="sweep")
    first = made.ask()
    first.report(1.0, 2)
    made.tell(first, 1.0)
    number = made.ask().number
    run = RunDirectory(tmp_path / "run")
    write_trial(run, {"storage": storage, "study": "sweep", "number": number, "metric": None})
    return run, made


@pytest.mark.parametrize(("value", "stops"), [(0.5, False), (2.0, True)])
def test_a_trial_worse_than_the_median_is_pruned(study, value, stops):
    run, made = study
    trainer, callback = make_trainer(run.path), Pruning(optuna.pruners.MedianPruner(n_startup_trials=1))
    callback.on_fit_start(trainer, None)
    callback.run(trainer, measured(2, value))
    callback.run(trainer, measured(2, 7.0))  # the same measurement again is not reported
    assert trainer.should_stop == stops
    assert made.get_trials()[1].intermediate_values == {2: value}
    trial = read_trial(run)
    assert (trial.get("pruned"), trial.get("value")) == ((2, value) if stops else (None, None))


def test_a_step_repeated_by_a_resume_is_reported_once(study):
    run, made = study
    for value in (0.5, 0.7):
        trainer, callback = make_trainer(run.path), Pruning(optuna.pruners.NopPruner())
        callback.on_fit_start(trainer, None)
        callback.run(trainer, measured(2, value))
    assert made.get_trials()[1].intermediate_values == {2: 0.5}


@pytest.mark.parametrize("metric", ["fd_test_8", "fd", "fid"])
def test_the_metric_may_be_given_by_its_beginning(study, metric):
    run, made = study
    write_trial(run, {**read_trial(run), "metric": metric})
    trainer, callback = make_trainer(run.path), Pruning(optuna.pruners.NopPruner())
    callback.on_fit_start(trainer, None)
    callback.run(trainer, measured(2, 0.5))
    assert made.get_trials()[1].intermediate_values == {2: 0.5}


def test_an_unknown_metric_is_named(study):
    run, _ = study
    write_trial(run, {**read_trial(run), "metric": "isc"})
    trainer, callback = make_trainer(run.path), Pruning(optuna.pruners.NopPruner())
    callback.on_fit_start(trainer, None)
    with pytest.raises(UserError, match=r"metric=isc is never measured while training, which measures fd_test_8"):
        callback.run(trainer, measured(2, 1.0))


def test_a_run_that_is_not_a_trial_goes_on(tmp_path, caplog):
    trainer, callback = make_trainer(tmp_path), Pruning(None)
    with caplog.at_level(logging.INFO, "inkwash"):
        callback.on_fit_start(trainer, None)
    callback.run(trainer, measured(2, 1.0))
    assert not trainer.should_stop
    assert "this run is not a trial of an Optuna study" in caplog.text
