"""Studies of Optuna (jobs take no time: support.fast_jobs)."""

import csv

import pytest
from omegaconf import OmegaConf
from optuna.samplers import TPESampler

from hydra_plugins.inkwash.study import OptunaSweeper
from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.runs.directory import RunDirectory
from support.sweeps import LOG_LR, run, states, study


@pytest.mark.slow
def test_a_killed_study_goes_on_with_the_same_values(tmp_path):
    """The same trials, each told once, whether the sweep was killed in its third job or not."""
    arguments = ("sweeper=optuna", "hydra.sweeper.n_trials=5", "+hydra.sweeper.sampler.n_startup_trials=2", LOG_LR)
    whole = run("sweep=whole", *arguments, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert run("sweep=parts", *arguments, cwd=tmp_path, STOP_AFTER="3").returncode == -9
    parts = tmp_path / "runs" / "parts"
    assert [trial.state.name for trial in study(parts)] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert "best" in run("sweep=parts", *arguments, cwd=tmp_path).stdout
    one, two = study(tmp_path / "runs" / "whole"), study(parts)
    assert [trial.params for trial in one] == [trial.params for trial in two]
    assert [trial.value for trial in one] == [trial.value for trial in two]
    assert {trial.state.name for trial in one + two} == {"COMPLETE"}
    assert len((parts / "begun").read_text().splitlines()) == 6  # the third began twice
    assert not list(parts.glob("*.worker"))
    other = run("sweep=parts", *arguments, "hydra.sweeper.metric=heldout_loss", cwd=tmp_path)
    assert other.returncode == 1
    assert "sweep=parts was begun with the metric fid, now it is heldout_loss: choose another name" in other.stderr


@pytest.mark.slow
def test_pruned_trials_are_not_failures(tmp_path):
    # Optuna's median pruner, and at seed 1 these learning rates: some are worse than the median of those before.
    arguments = ("sweep=mine", "sweeper=random", "hydra.sweeper.n_trials=6", "seed=1", "launcher=parallel", LOG_LR)
    result = run(*arguments, cwd=tmp_path, REPORT="3")
    directory = tmp_path / "runs" / "mine"
    assert result.returncode == 0, result.stderr
    found = study(directory)
    pruned = [trial for trial in found if trial.state.name == "PRUNED"]
    assert pruned
    assert {trial.state.name for trial in found} == {"COMPLETE", "PRUNED"}
    assert list(states(directory).values()).count("pruned") == len(pruned)
    assert "pruned at 4" in result.stdout
    with open(directory / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if row["state"] == "finished"]
    assert rows[: len(kept)] == kept  # the whole ones first


@pytest.fixture
def sweeper(tmp_path):
    """make(metric): a sweeper whose study is open, in a folder of its own."""

    def make(metric):
        made = OptunaSweeper(2, metric, None, 0, 1, None, TPESampler)
        made.directory, made.numbers, made.failed = tmp_path / "mine", {"job": 0}, 0
        prc = {"_target_": "inkwash.metrics.precision_recall.PrecisionRecall"}
        made.config = OmegaConf.create({"metrics": {"prc": prc}})
        made.study = made._open()
        made.study.ask()
        return made

    return make


def a_job(directory, **metrics):
    directory.mkdir(parents=True)
    write_json(directory / "summary.json", {"metrics": {name: {"value": value} for name, value in metrics.items()}})
    RunDirectory(directory).write_status("finished")


def test_the_name_of_a_metric_in_conf_is_its_value(sweeper):
    made = sweeper("prc")
    assert made.study.direction.name == "MAXIMIZE"
    a_job(made.directory / "job", recall_x_8=0.5, precision_x_8=0.25)
    made._tell("job")
    assert study(made.directory)[0].value == 0.25


def test_a_trial_that_did_not_measure_the_metric_fails_alone(sweeper, capsys):
    made = sweeper("precision_x_9")
    a_job(made.directory / "job", precision_x_8=0.25)
    made._tell("job")
    assert (study(made.directory)[0].state.name, made.failed) == ("FAIL", 1)
    assert "error: hydra.sweeper.metric=precision_x_9 was not measured in" in capsys.readouterr().err


@pytest.mark.parametrize(("storage", "journal", "named"), [
    (None, b"\xff\x00\n{}\n", "study.journal"), (None, b"[]\n", "study.journal"),
    (None, b'{"op_code": 0}\n', "study.journal"), ("nope://x", b"", "hydra.sweeper.storage"),
    ("sqlite:////nonexistent/x.db", b"", "hydra.sweeper.storage"),
])  # fmt: skip
def test_a_study_that_cannot_be_opened_is_named(storage, journal, named, tmp_path):
    (tmp_path / "study.journal").write_bytes(journal)
    sweeper = OptunaSweeper(1, None, None, 0, 1, storage, TPESampler)
    sweeper.directory, sweeper.config = tmp_path, OmegaConf.create({"metrics": {}})
    with pytest.raises(UserError, match=f"the study in .* cannot be opened .*{named}|the study in .*{named} cannot be"):
        sweeper._open()
