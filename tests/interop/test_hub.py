"""push=user/name: dry by default, by huggingface_hub to a server on this machine that answers like the hub."""

import subprocess
import sys

import pytest

from inkwash.errors import UserError
from inkwash.interop import hub
from support.hub_server import Hub
from support.runs import environment

TOKEN = "hf_averysecrettokenofatest"


@pytest.fixture
def server():
    server = Hub()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "export"
    (folder / "unet").mkdir(parents=True)
    (folder / "README.md").write_text("---\ntags: [inkwash]\n---\n\n# A card\n")
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "settings.yaml").write_text("run: /home/me")
    return folder


def send(folder, url, home, *, dry=False, token=TOKEN, **variables):
    """Push in a process of its own: huggingface_hub reads the environment when it is imported."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom inkwash.errors import UserError\nfrom inkwash.interop import hub\n"
        f"try:\n    hub.push(Path({str(folder)!r}), 'me/it', 'model', {dry}, True, ('README.md', 'unet/*'))\n"
        "except UserError as error:\n    sys.exit(f'error: {error}')\n"
    )
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **variables}
    if token:
        own["HF_TOKEN"] = token
    variables = {key: value for key, value in environment(**own).items() if token or key != "HF_TOKEN"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, timeout=120)
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_it_sends_nothing_unless_told_to(folder, capsys, monkeypatch):
    """And needs neither a network nor a token to say what it would send."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub.push(folder, "me/it", "model", dry=True, private=True, files=("README.md", "unet/*"))
    assert capsys.readouterr().out.splitlines() == [
        "  34 bytes  README.md",
        "   2 bytes  unet/config.json",
        "dry=true: nothing was sent. dry=false sends 2 files, 36 bytes to http://127.0.0.1:9/me/it",
    ]
    for name in ("me", "me/it/too", "/it", "me/", "-me/it", "https://huggingface.co/me/it"):
        with pytest.raises(UserError, match=f"push={name} must be user/name"):
            hub.check_repo(name)


def test_the_hub_gets_repository_and_files(folder, server, tmp_path):
    done = send(folder, server.url, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"sent 2 files, 36 bytes to {server.url}/me/it"
    (made,) = server.created
    assert (made["organization"], made["name"]) == ("me", "it")
    assert made.get("private") or made.get("visibility") == "private"
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    assert {name: len(content) for name, content in server.files["models/me/it"].items()} == {
        "README.md": 34, "unet/config.json": 2,
    }  # fmt: skip
    stored = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert stored == []


@pytest.mark.slow
def test_what_goes_wrong_ends_in_one_sentence(folder, server, tmp_path):
    server.refuse = (403, f"no right to write with {TOKEN}")
    nowhere = "http://127.0.0.1:9"
    for url, more, message in (
        (server.url, {}, "error: push=me/it failed, run the same command again: "),
        (nowhere, {}, "error: push=me/it failed, run the same command again: "),
        (server.url, {"HF_HUB_OFFLINE": "1"}, "error: push=me/it failed, run the same command again: "),
        (server.url, {"token": None}, "error: push=me/it: there is no token of the Hugging Face hub: run `hf auth"),
    ):
        done = send(folder, url, tmp_path / "home", **more)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(message), done.stderr
    assert server.files == {}


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"push= needs the package huggingface_hub: pip install 'inkwash\[hub\]'"):
        hub.push(folder, "me/it", "model", dry=False, private=True, files=("*",))
