"""inkwash summary: layers, operations and memory, and nothing on the disk."""

import re

from PIL import Image

from support.in_process import Commands


def test_it_shows_what_would_be_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = Commands(tmp_path)("summary", "model.channels=8", "trainer=cpu", "data.batch_size=32")
    assert ended.code == 0, ended.text
    assert max(map(len, ended.text.splitlines())) <= 80
    assert re.search(r"│ input +│ \w+ +│ +8 x 8 x 8 │ +80 │", ended.text)
    assert re.search(r"^parameters   [\d,]+$", ended.text, re.MULTILINE)
    assert re.search(r"^operations   [\d.]+ MFLOP for a pass of an image", ended.text, re.MULTILINE)
    assert re.search(r"1: [\d.]+ MB, 8: [\d.]+ MB, 32: [\d.]+ MB, 64: [\d.]+ MB$", ended.text, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_it_finds_shape_and_classes(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (16, 16)).save(tmp_path / "pets" / name / f"{i}.png")
    run = Commands(tmp_path)
    ended = run("summary", "data=folder", f"data.path={tmp_path / 'pets'}", "model.channels=8", "trainer=cpu")
    assert ended.code == 0, ended.text
    assert "data.shape=[3,16,16]: " in ended.text
    assert "data.num_classes=2: cat, dog; " in ended.text


def test_it_checks_as_train_does(tmp_path):
    run = Commands(tmp_path)
    assert "did you mean model.channels?" in run("summary", "model.chanels=8").error
    assert "trainer.max_steps=0 must be at least 1" in run("summary", "trainer.max_steps=0").error
    assert list(tmp_path.iterdir()) == []
