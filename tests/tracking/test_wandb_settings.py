"""W&B's own variables and its file, where our configuration says null."""

import pytest
import wandb

from inkwash.errors import UserError
from inkwash.tracking.wandb_settings import chosen_mode, has_api_key, project, server, setting, tags


@pytest.fixture(autouse=True)
def nothing_set(tmp_path, monkeypatch):
    for name in ("API_KEY", "BASE_URL", "MODE", "DISABLED", "PROJECT", "TAGS", "CONFIG_DIR", "IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


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
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text("machine ours:8080 login user password x\n")
    monkeypatch.setenv("WANDB_BASE_URL", "http://ours:8080")
    assert has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://ours:9090")
    assert not has_api_key()
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert has_api_key()


def test_a_variable_is_taken_before_the_file_and_the_file_before_nothing(tmp_path, monkeypatch):
    """`wandb login --host` writes the server to the file, and its key to .netrc under that name."""
    assert (setting("mode"), project(), server()) == (None, "inkwash", wandb.Settings().base_url)
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    file = tmp_path / ".config" / "wandb" / "settings"
    file.write_text("[default]\nbase_url = https://ours.example\nproject = 100%\nmode = offline\n")
    (tmp_path / "netrc").write_text("machine ours.example login user password x\n")
    assert (setting("mode"), project(), server()) == ("offline", "100%", "https://ours.example")
    assert has_api_key()
    monkeypatch.setenv("WANDB_PROJECT", "thesis")
    assert project() == "thesis"
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "elsewhere"))
    assert setting("mode") is None
    monkeypatch.delenv("WANDB_CONFIG_DIR")
    file.write_text("no sections\n")
    assert setting("mode") is None


@pytest.mark.parametrize(
    ("variable", "mode"),
    [("dryrun", "offline"), ("offline", "offline"), ("run", "online"), ("online", "online"), ("disabled", "disabled")],
)
def test_a_mode_is_what_wandb_takes_it_for(monkeypatch, variable, mode):
    """pytorch-lightning#16028; `dryrun` and `run` are W&B's older names."""
    monkeypatch.setenv("WANDB_MODE", variable)
    assert chosen_mode(None) == mode
    assert chosen_mode("disabled") == "disabled"  # a typed value wins


def test_without_a_mode_the_key_decides(monkeypatch):
    assert chosen_mode(None) == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert chosen_mode(None) == "online"
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert chosen_mode(None) == "disabled"
    monkeypatch.delenv("WANDB_DISABLED")
    monkeypatch.setenv("WANDB_MODE", "perhaps")
    with pytest.raises(UserError, match="WANDB_MODE=perhaps in the environment must be online, offline or disabled"):
        chosen_mode(None)


def test_tags_are_divided_by_commas(monkeypatch):
    assert tags() is None
    monkeypatch.setenv("WANDB_TAGS", "a, b,,c")
    assert tags() == ["a", "b", "c"]
