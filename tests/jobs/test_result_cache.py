"""The cache key of a result changes with everything that a value depends on."""

import importlib
import os
from types import SimpleNamespace

import pytest
import torch

from inkwash.jobs import result_cache

DATA = SimpleNamespace(train=SimpleNamespace(fingerprint="a"), heldout=SimpleNamespace(fingerprint="b"))


def key_of(config, cell, data, device="cpu"):
    return result_cache.key_of(config, cell, data, torch.device(device))


@pytest.fixture
def config(tmp_path):
    """An evaluation that names files of all kinds."""
    for run in ("good", "bad"):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
        (tmp_path / run / "config.yaml").write_text("seed: 0\n")
        (tmp_path / run / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    (tmp_path / "images").mkdir()
    for name in ("images/0.png", "reference.npz", "weights.pt"):
        (tmp_path / name).write_bytes(b"content")
    return {
        "run": str(tmp_path / "good"),
        "images": str(tmp_path / "images"),
        "reference_file": str(tmp_path / "reference.npz"),
        "extractor": {"weights_path": str(tmp_path / "weights.pt")},
        "guide": {"bad": {"run": str(tmp_path / "bad"), "checkpoint": "last.ckpt"}},
        "metrics": {"fid": {"extractor": None}},
        "trainer": {"precision": None, "devices": 1},
        "tracking": None,
    }


CELL = {"name": "one", "seed": 0, "checkpoint": "last.ckpt"}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"trainer": {"precision": None, "devices": 2}}, True),
        ({"tracking": "wandb"}, True),
        ({"trainer": {"precision": "bf16-mixed", "devices": 1}}, False),
        ({"metrics": {}}, False),
        ({"seed": 1}, False),
    ],
)
def test_settings(config, change, same):
    other = key_of({**config, **change}, {**CELL, "name": "another", **change}, DATA)
    assert (key_of(config, CELL, DATA) == other) == same


def rewrite(path):
    path.write_bytes(b"another")  # as long as before


def later(path):
    rewrite(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("good/checkpoints/last.ckpt", rewrite),
        ("good/config.yaml", rewrite),
        ("bad/checkpoints/last.ckpt", rewrite),
        ("images/0.png", later),
        ("images/1.png", rewrite),
        ("reference.npz", later),
        ("weights.pt", later),
    ],
)
def test_files(config, tmp_path, name, change):
    before = key_of(config, CELL, DATA)
    change(tmp_path / name)
    assert key_of(config, CELL, DATA) != before


def test_images_that_the_data_are(config):
    for split in ("train", "heldout"):
        other = SimpleNamespace(**{**vars(DATA), split: SimpleNamespace(fingerprint="another")})
        assert key_of(config, CELL, other) != key_of(config, CELL, DATA)


def test_code(config, tmp_path, monkeypatch):
    """All of the package but reports, which make no values, and the packages of INKWASH_TRUST."""
    package = tmp_path / "package"
    (package / "reports").mkdir(parents=True)
    (package / "random.py").touch()
    monkeypatch.setattr(result_cache, "PACKAGE", package)

    def key():
        result_cache._code.cache_clear()
        return key_of(config, CELL, DATA)

    before = key()
    (package / "reports" / "table.py").write_text("new")
    assert key() == before
    (package / "samplers.py").write_text("new")
    assert key() != before

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INKWASH_TRUST", "mine,nowhere")
    before = key()
    (tmp_path / "mine.py").write_text("new")
    importlib.invalidate_caches()
    assert key() != before

    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/__init__.py").write_text("raise ZeroDivisionError  # importing it is left to the evaluation")
    monkeypatch.setenv("INKWASH_TRUST", "whole.part,nowhere.part")
    importlib.invalidate_caches()
    before = key()
    (tmp_path / "whole/part.py").write_text("new")
    assert key() != before
    result_cache._code.cache_clear()


def test_arithmetic(config, monkeypatch):
    assert key_of(config, CELL, DATA, "meta") != key_of(config, CELL, DATA)
    before = key_of(config, CELL, DATA)
    monkeypatch.setattr(result_cache.metadata, "version", lambda _: "9.9")
    assert key_of(config, CELL, DATA) != before


def test_a_checkpoint_that_is_not_there_has_a_name_too(config, tmp_path):
    """Loading it raises the error."""
    before = key_of(config, CELL, DATA)
    assert key_of(config, {**CELL, "checkpoint": "best.ckpt"}, DATA) != before
    (tmp_path / "bad" / "config.yaml").unlink()
    assert key_of(config, CELL, DATA) != before
