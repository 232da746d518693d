"""The card and the labels of sampled images, as the hub's data sets have them."""

import json
import shutil

import pytest
from huggingface_hub import DatasetCard

from inkwash.interop.dataset_card import write_dataset_card
from inkwash.runs.directory import RunDirectory
from support.in_process import Commands
from support.runs import TESTS

GOLDEN = TESTS / "golden" / "runs" / "default"
DRAW = ("run=golden", "num_images=4", "spacing.steps=1", "trainer.accelerator=cpu", "trainer.threads=1", "out=drawn")


@pytest.fixture
def place(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "runs" / "golden")
    return tmp_path


def test_sampled_images_go_out_with_their_labels(place):
    """By the command, which sends nothing unless it is told to, and nothing that is not of the card."""
    others = ("wandb/staging/last.ckpt", "wandb/run-1/logs/debug.log", "notes.txt", "old/README.md")
    for name in others:  # of W&B, which keeps its record in OUT, and of the user
        (place / "drawn" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "drawn" / name).write_text("mine")
    ended = Commands(place)("sample", *DRAW, "push=me/drawn")
    assert ended.code == 0, ended.text
    lines = [line.split()[2] for line in ended.text.splitlines() if " bytes  " in line or " kB  " in line]
    images = [f"images/00000{i}.png" for i in range(4)]
    assert lines == ["README.md", "grid.png", *images, "metadata.jsonl"]  # not sample.yaml, with the run's whole path
    assert "dry=true: nothing was sent. dry=false sends 7 files" in ended.text
    assert ended.text.rstrip().endswith("to https://huggingface.co/datasets/me/drawn")
    rows = [json.loads(line) for line in (place / "drawn" / "metadata.jsonl").read_text().splitlines()]
    assert rows == [{"file_name": name, "label": i} for i, name in enumerate(images)]
    card = DatasetCard((place / "drawn" / "README.md").read_text())
    assert card.data.size_categories == ["n<1K"]
    assert "4 images of shape [1, 8, 8]" in card.text
    assert str(place) not in card.content
    assert Commands(place)("sample", *DRAW, "push=me").error == (
        "error: push=me must be user/name, the repository on the Hugging Face hub"
    )


def test_one_class_and_tasks(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(2):
        (tmp_path / "images" / f"{i:06d}.png").touch()
    (tmp_path / "summary.json").write_text('{"images": 2, "steps": 3, "guidance": 2.0}')
    settings = {
        "weights": "ema", "checkpoint": "last.ckpt", "sampler": {"_target_": "a.DDIM"}, "seed": 0,
        "label": 7, "task": {"_target_": "inkwash.editing.tasks.Generate"},
    }  # fmt: skip
    write_dataset_card(tmp_path, settings, RunDirectory(GOLDEN), "me/it")
    lines = (tmp_path / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == [7, 7]
    settings["task"] = {"_target_": "inkwash.editing.tasks.Inpaint"}
    write_dataset_card(tmp_path, settings, RunDirectory(GOLDEN), "me/it")
    assert not (tmp_path / "metadata.jsonl").exists()
    assert "metadata.jsonl" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("own", "typed", "told"),
    [
        ("Consistency", (), "sampler Consistency with 2 steps, guidance 1.5"),  # the sampler that it was made for
        ("Consistency", ("spacing.steps=3",), "sampler Consistency with 3 steps, guidance 1.5"),
        ("DDIM", ("spacing.steps=null", "guidance=1"), "sampler DDIM with 1000 steps, guidance 1,"),
    ],
)
def test_the_card_tells_how_they_were_drawn(own, typed, told, place, monkeypatch):
    """By the sampler, the steps and the guidance that were taken: typed, or the run's own."""
    run = RunDirectory(place / "runs" / "golden")
    config, spacing = run.config, {"_target_": "inkwash.process.spacing.Trailing", "steps": 2}
    config["sampler"] = {"_target_": f"inkwash.samplers.{own.lower()}.{own}", "spacing": spacing, "clip": 1.0}
    config["callbacks"]["samples"]["guidance"] = 1.5
    run.write_config(config)
    monkeypatch.setattr("inkwash.samplers.consistency.Consistency.needs_ends", False)  # not of this loss
    monkeypatch.setattr("inkwash.samplers.base.Sampler.__call__", lambda self, denoiser, noise, *_, **__: noise())
    typed = [word for word in DRAW if word != "spacing.steps=1"] + [*typed]
    ended = Commands(place)("sample", *typed, "push=me/drawn")
    assert ended.code == 0, ended.text
    assert told in " ".join((place / "drawn" / "README.md").read_text().split())
