"""The command line of a run: stored, pasted, and with further overrides."""

import json
import shlex

import pytest

from inkwash.runs.command_line import arguments_of, command, key_of, with_more
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


def test_arguments_of_a_run(run, tmp_path):
    assert arguments_of(run(overrides=[], command=command(NASTY))) == NASTY[1:]
    older = ["run=x", "callbacks.fid.num_images=8", "+callbacks.x._target_=inkwash.training.callbacks.guard.FiniteLoss"]
    assert arguments_of(run(overrides=older)) == [
        "callbacks.evaluation.num_images=8",
        "+callbacks.x._target_=inkwash.training.callbacks.finite_loss.FiniteLoss",
    ]
    assert arguments_of(run(overrides=[])) == []
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
