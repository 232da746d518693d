"""Hydra's own settings are honoured, or refused with what to type; files may not have Hydra call strangers."""

import re

import pytest

from inkwash.commands import evaluate, sample, train

RUN_CONFIG = """defaults:
- train
- _self_
{more}
"""


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("hydra.run.dir=elsewhere", "pass run=NAME, and the run is runs/NAME"),
        ("++hydra.run.dir=elsewhere", "pass run=NAME"),
        ("hydra.sweep.dir=elsewhere", "pass sweep=NAME, and the sweep is runs/NAME"),
        ("hydra.sweep.subdir=x", "pass sweep=NAME"),
        ("hydra.output_subdir=here", "config.yaml and run.json of the run directory"),
        ("hydra.job.chdir=true", "every path is relative to the folder"),
        ("hydra.job.name=x", "pass run=NAME"),
        ("+hydra.callbacks.x={_target_: a.B}", r"pass \+callbacks.NAME._target_"),
        ("hydra.verbose=true", "train.log"),
        ("hydra/job_logging=colorlog", "train.log"),
        ("hydra/hydra_logging=default", "train.log"),
        ("~hydra.job_logging", "train.log"),
        ("hydra.help.header=x", "leave it out"),
        ("hydra={}", "leave it out"),
    ],
)
def test_a_setting_without_an_effect_is_refused(argument, hint, tmp_path, monkeypatch, ends):
    """lightning-hydra-template#155, hydra#1771: a place that was typed, and an empty folder there."""
    monkeypatch.chdir(tmp_path)
    said = ends(train.main, argument)
    assert said.startswith(f"error: {argument.partition('=')[0]} has no effect here: ")
    assert re.search(hint, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [sample, evaluate])
def test_a_command_with_an_output_of_its_own_names_that(module, ends):
    assert ends(module.main, "hydra.run.dir=x", "run=y").endswith("pass out=PATH")


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """stranger(yaml): the arguments that train a foreign file; it would create `called` in this folder."""
    monkeypatch.chdir(tmp_path)

    def write(more, name="config.yaml", head=RUN_CONFIG):
        (tmp_path / "foreign").mkdir(exist_ok=True)
        (tmp_path / "foreign" / name).write_text(head.replace("{more}", more))
        return "--config-dir", "foreign", "--config-name", "config"

    return write


CALLS = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: [called]}}"
HOSTILE = {
    "callback": f"hydra: {{callbacks: {{x: {CALLS}}}}}",
    "launcher": "hydra: {launcher: {_target_: os.mkdir}}",
    "sweeper": "hydra: {sweeper: {_target_: os.mkdir}}",
    "log": "hydra: {job_logging: {handlers: {x: {(): os.mkdir, path: called}}, root: {handlers: [x]}}}",
    "log of hydra": "hydra: {hydra_logging: {handlers: {x: {(): os.mkdir, path: called}}, root: {handlers: [x]}}}",
    "variable": "hydra: {job: {env_set: {LD_PRELOAD: x.so}}}",
    "folder": "hydra: {job: {chdir: true}}",
}


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("more", HOSTILE.values(), ids=HOSTILE)
def test_a_foreign_file_has_nothing_called(more, stranger, tmp_path, ends):
    said = ends(train.main, *stranger(more))
    assert "hydra." in said
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


def test_nor_has_a_file_of_a_folder_that_is_searched(stranger, tmp_path, ends):
    (tmp_path / "foreign" / "experiment").mkdir(parents=True)
    stranger(f"hydra: {{callbacks: {{x: {CALLS}}}}}", "experiment/theirs.yaml", "# @package _global_\n{more}\n")
    said = ends(train.main, f"hydra.searchpath=[file://{tmp_path}/foreign]", "experiment=theirs")
    assert "hydra.callbacks.x._target_=pathlib.Path.touch" in said
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


@pytest.mark.slow
def test_nor_has_a_job_of_a_sweep(stranger, tmp_path, ends):
    (tmp_path / "foreign" / "experiment").mkdir(parents=True)
    stranger(HOSTILE["log"], "experiment/theirs.yaml", "# @package _global_\n{more}\n")
    path = f"hydra.searchpath=[file://{tmp_path}/foreign]"
    said = ends(train.main, "--multirun", "sweep=s", path, "experiment=edm,theirs")
    assert "hydra.job_logging of a YAML file" in said
    assert not (tmp_path / "called").exists()


OPTUNA = RUN_CONFIG.replace("- _self_", "- override sweeper: optuna\n- _self_")


def test_nor_has_the_sampler_of_a_study(stranger, ends):
    more = f"hydra: {{sweeper: {{sampler: {CALLS}}}}}"
    said = ends(train.main, "--multirun", *stranger(more, head=OPTUNA), "sweep=s", "seed=1,2")
    assert "hydra.sweeper.sampler._target_=pathlib.Path.touch is neither a class of inkwash" in said


def test_a_file_of_ones_own_may_choose_a_sampler(stranger, monkeypatch, capsys):
    """It gets as far as the missing name of the run."""
    more = "hydra: {sweeper: {n_trials: 3, sampler: {_target_: optuna.samplers.GPSampler}}}\nresume: must"
    monkeypatch.setattr("sys.argv", ["inkwash", *stranger(more, head=OPTUNA), "+hydra.job.env_set.X=1"])
    with pytest.raises(SystemExit):
        train.main()
    assert capsys.readouterr().err == "error: resume=must needs the name of a run: pass run=NAME\n"
