"""The command line of a run: stored, pasted, and with further overrides."""

import json
import shlex

import pytest

from inkwash.errors import UserError
from inkwash.runs.command_line import arguments_of, command, from_run, key_of, with_more
from inkwash.runs.directory import RunDirectory

NASTY = [
    "run=mine", "data.path=\"~/my photos (1)\"", "+new.key={a: 1, b: 'it''s'}", "~callbacks.report",
    "model.channels=[32,64]", "name=$HOME `id` \\ \"#;&|", "seed=1",
]  # fmt: skip


def test_a_shell_reads_back_what_was_typed():
    assert shlex.split(command(NASTY)) == ["inkwash", "train", *NASTY]
    assert command(["seed=1", "sweep=mine", "sweeper=optuna", "launcher=gpus"]) == "inkwash train seed=1"


@pytest.fixture
def run(tmp_path):
    def make(**record):
        (tmp_path / "run.json").write_text(json.dumps({"id": "a", **record}))
        return RunDirectory(tmp_path)

    return make


def test_arguments_of_a_run(run, tmp_path, monkeypatch):
    assert arguments_of(run(overrides=[], command=command(NASTY))) == NASTY[1:]
    older = ["run=x", "callbacks.fid.num_images=8", "+callbacks.x._target_=inkwash.training.callbacks.guard.FiniteLoss"]
    assert arguments_of(run(overrides=older)) == [
        "callbacks.evaluation.num_images=8",
        "+callbacks.x._target_=inkwash.training.callbacks.finite_loss.FiniteLoss",
    ]
    assert arguments_of(run(overrides=[])) == []
    experiment = ["experiment=mnist"]
    (tmp_path / "config.yaml").write_text("trainer: {max_steps: 2000}")
    before = run(overrides=["seed=1"], choices={"model": "unet_small", "optimizer": "adamw", "data": "digits"})
    former = ["model=unet_small", "optimizer=adamw", "trainer.max_steps=2000"]
    assert arguments_of(before) == [*former, "seed=1"], "defaults of its time"
    assert arguments_of(before, ["trainer.max_steps=9"]) == [*former[:2], "seed=1"]
    assert arguments_of(before, experiment) == ["seed=1"], "which sets all of them"
    assert arguments_of(before, ["experiment=edm"]) == [*former, "seed=1"], "which sets none"
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "nothing.yaml").write_text("# @package _global_\n")
    monkeypatch.setenv("INKWASH_CONF", str(tmp_path / "mine"))
    assert arguments_of(before, ["experiment=nothing"]) == [*former, "seed=1"]
    assert arguments_of(before, ["debug=fast"]) == [*former[:2], "seed=1"]
    assert arguments_of(run(overrides=["seed=1"], choices={"model": "unet_small"}, defaults=1)) == ["seed=1"]
    of_experiment = run(overrides=experiment, choices={"model": "unet_small"})
    assert arguments_of(of_experiment) == ["model=unet_small", "trainer.max_steps=2000", *experiment]
    assert arguments_of(run(overrides=[], choices={"model": "unet_tiny"})) == ["trainer.max_steps=2000"]
    imported = arguments_of(run(overrides=[], imported="folder"))
    assert imported == [f"--config-dir={tmp_path}", "--config-name=config"]


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        (["seed=2"], ["model=unet_small", "model.channels=8", "trainer.max_steps=9", "~callbacks.report"]),
        (["model=unet_cifar10"], ["trainer.max_steps=9", "~callbacks.report", "seed=1"]),
        (["model.channels=16"], ["model=unet_small", "trainer.max_steps=9", "~callbacks.report", "seed=1"]),
        (
            ["trainer=cpu"],
            ["model=unet_small", "model.channels=8", "trainer.max_steps=9", "~callbacks.report", "seed=1"],
        ),
        (["+callbacks.report=1"], ["model=unet_small", "model.channels=8", "trainer.max_steps=9", "seed=1"]),
    ],
)
def test_what_is_typed_wins(typed, left):
    stored = ["model=unet_small", "model.channels=8", "trainer.max_steps=9", "~callbacks.report", "seed=1"]
    assert with_more(stored, typed) == [*left, *typed]


def test_keys():
    assert [key_of(text) for text in ("~a.b", "++a.b=c=d", "a/b=c", "--config-dir=x")] == ["a.b", "a.b", "a/b", ""]


# --- from= ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Another project, whose run reads its images from folders beside runs/; commands are typed elsewhere."""
    for folder in ("project/runs/one", "project/my photos", "project/val", "here"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "project"


def trained_with(project, *arguments, **record):
    (project / "runs/one/config.yaml").write_text("seed: 0\n")
    record = {"id": "a", "command": command(arguments), **record}
    (project / "runs/one/run.json").write_text(json.dumps(record))
    return f"from={project}/runs/one"


def test_relative_paths_of_another_project_are_found(project):
    stored = ["data=folder", 'data.path="my photos"', "+data.source.heldout_path=val", "data.path=/x", "data.path=no"]
    assert from_run([trained_with(project, *stored), "seed=2"]) == [
        "data=folder", f"data.path={project}/my photos", f"+data.source.heldout_path={project}/val", "data.path=/x",
        "data.path=no", "seed=2",
    ]  # fmt: skip


def test_paths_that_lead_somewhere_from_here_stay(project, monkeypatch):
    monkeypatch.chdir(project)
    assert from_run([trained_with(project, 'data.path="my photos"')]) == ['data.path="my photos"']


@pytest.mark.parametrize("choice", ["data=digits", "schedule=linear"])
def test_a_choice_has_no_place_in_an_imported_configuration(project, choice):
    """Hydra would say: Could not override 'data'. No match in the defaults list."""
    source = trained_with(project)
    (project / "runs/one/run.json").write_text(json.dumps({"id": "a", "imported": "folder", "overrides": []}))
    with pytest.raises(UserError) as refused:
        from_run([source, "data.batch_size=8", choice])
    assert str(refused.value) == (
        f"{choice} cannot be chosen for run={project}/runs/one, which was imported: its config.yaml has a value for "
        "every key; pass single ones, data.path=PATH for example, or make train run=NAME "
        f"init_from={project}/runs/one {choice}"
    )
    assert from_run([source, "data.path=x", "seed=2"])[-2:] == ["data.path=x", "seed=2"]
    trained_with(project, "--config-dir=/mine")  # a folder of YAMLs
    assert from_run([source, choice]) == ["--config-dir=/mine", choice]
