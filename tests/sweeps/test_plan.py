"""The names of jobs, and what a sweep refuses."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from inkwash.commands.evaluate import combinations
from inkwash.errors import UserError
from inkwash.runs.names import SAFE
from inkwash.sweeps import plan


def test_names_of_jobs():
    name = plan.job_name(["optimizer.lr=0.00123456789", "schedule=linear"], ["a=1", "schedule=linear", "sweep=x"])
    assert name.startswith("optimizer.lr-0.001235_schedule-linear-")
    # Whatever does not belong to the job leaves its name alone, and so does the order; anything else changes it.
    same = ["launcher=gpus", "schedule=linear", "a=1", "sweep=y", "resume=must", "sweeper=grid"]
    assert name == plan.job_name(["optimizer.lr=0.00123456789", "schedule=linear"], same)
    assert name != plan.job_name(["optimizer.lr=0.00123456789", "schedule=linear"], ["a=2", "schedule=linear"])
    long = plan.job_name(["x=" + "y" * 300], ["x=" + "y" * 300])
    assert len(long) < 120
    assert SAFE.fullmatch(plan.job_name(["a={b: [1, 2]}", "c='$HOME (x)'"], []))


def parsed(*texts):
    return OverridesParser.create().parse_overrides(list(texts))


@pytest.mark.parametrize(("lists", "sentence"), {
    ("seed=range(5,5)",): r"seed=range\(5,5\) lists no values",
    ("seed=range(1,5,0)",): r"seed=range\(1,5,0\): ",
    ("seed=range(1,100000000)",): r"range\(1,100000000\) makes more than 10,000 combinations",
    ("seed=shuffle(range(1,inf))",): "makes more than 10,000 combinations",
    ("a=range(0,101)", "b=1,2", "c=range(0,100)"): r"c=range\(0,100\) makes more than 10,000 combinations",
}.items())  # fmt: skip
def test_lists_of_nothing_and_of_too_much_are_refused(lists, sentence):
    with pytest.raises(UserError, match=sentence):
        plan.refuse_counts(parsed(*lists))
    with pytest.raises(UserError, match=sentence):
        combinations(list(lists))
    plan.refuse_counts(parsed("a=range(0,100)", "b=range(0,100)", "c=1", "d=interval(0,1)"))


def test_a_sweep_needs_a_folder(tmp_path):
    (tmp_path / "x").touch()
    for name in ("x", "x/y"):
        config = OmegaConf.create({"run": None, "hydra": {"sweep": {"dir": str(tmp_path / name)}}})
        with pytest.raises(UserError, match=f"{tmp_path / 'x'} is a file, not a folder: choose another sweep=NAME"):
            plan.begin(config)


def begin(folder):
    launcher = {"_target_": "x.BasicLauncher"}
    hydra = {"sweep": {"dir": str(folder)}, "launcher": launcher, "overrides": {"hydra": []}}
    config = OmegaConf.create({"run": None, "hydra": hydra})
    plan.begin(config)
    return config.hydra.overrides.hydra


@pytest.mark.parametrize("file", ["config.yaml", "run.json", "status.json"])
def test_a_sweep_does_not_go_into_a_run(tmp_path, file):
    (tmp_path / file).touch()
    with pytest.raises(UserError, match=f"sweep={tmp_path.name}: {tmp_path} is a run: choose another sweep=NAME"):
        begin(tmp_path)
    (tmp_path / file).unlink()
    assert begin(tmp_path) == [f"hydra.sweep.dir={tmp_path}"]
