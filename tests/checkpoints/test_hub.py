"""Run directories on the Hugging Face hub. The hub itself is a folder in its cache here, or cannot be reached."""

import time

import pytest

from inkwash.checkpoints.hub import snapshot
from inkwash.errors import UserError

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """cache(files): a repository that was downloaded once, without a network now."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "0" * 40

    def make(*files):
        folder = tmp_path / "models--me--digits"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        for name in files:
            path = folder / "snapshots" / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return folder / "snapshots" / commit

    return make


def test_what_was_downloaded_is_found_without_a_network(cache):
    folder = cache("config.yaml", "checkpoints/last.ckpt")
    assert snapshot("me/digits") == folder


def test_a_repository_of_something_else(cache):
    cache("model_index.json")
    with pytest.raises(UserError, match="hf:me/digits holds no run directory.*inkwash import folder=PATH run=NAME"):
        snapshot("me/digits")


def test_no_network_is_one_sentence_within_seconds(cache):
    start = time.monotonic()
    with pytest.raises(UserError, match="^hf:me/other: the Hugging Face hub cannot be reached, and it was not"):
        snapshot("me/other")
    assert time.monotonic() - start < 5


def test_a_name_that_is_none(cache):
    with pytest.raises(UserError, match="^hf:a/b/c cannot be downloaded from the Hugging Face hub: "):
        snapshot("a/b/c")
