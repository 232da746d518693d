"""Offline records, API key and server of W&B."""

import re

import pytest

from inkwash.errors import UserError
from inkwash.tracking.wandb_offline import has_api_key, reach, records, sync_command


def test_uploaded_records_are_left_out(tmp_path):
    for name in ("offline-run-20260101_000000-abc", "offline-run-20260102_000000-abc"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / "run-abc.wandb").touch()
    assert [record.name[-10:-4] for record in records(tmp_path)] == ["000000", "000000"]
    (tmp_path / "wandb/offline-run-20260101_000000-abc/run-abc.wandb.synced").touch()
    assert sync_command(tmp_path) == f"wandb sync {tmp_path}/wandb/offline-run-20260102_000000-abc"


def test_an_api_key_is_found_where_wandb_finds_it(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_api_key()
    (tmp_path / "netrc").write_text("machine elsewhere.example login user password x\n")
    assert not has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example")
    assert has_api_key()
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_api_key()


@pytest.mark.parametrize("url", ["http://h:99999", "http://h:x", "http://[h", "h:80", "http://h:0"])
def test_a_server_that_has_no_address_is_named(monkeypatch, url):
    monkeypatch.setenv("WANDB_BASE_URL", url)
    with pytest.raises(UserError, match=re.escape(f"WANDB_BASE_URL={url} in the environment is not an address")):
        reach()
