"""Checkpoints that a run has sent to W&B."""

import pytest

from inkwash.errors import UserError
from inkwash.tracking.wandb_artifact import download


@pytest.mark.parametrize("name", ["x", "me/digits", "me/digits/model", "me/digits/model:", "a/b/c/d:best"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match=r"must be wandb:ENTITY/PROJECT/ARTIFACT:ALIAS"):
        download(name)


def test_without_a_key_or_a_server_it_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match="needs an API key: run `wandb login`"):
        download("me/digits/model:best")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 cannot be reached"):
        download("me/digits/model:best")
