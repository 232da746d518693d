"""make dashboard and make sync, as far as they go without a server."""

import json
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from inkwash.commands.dashboard import dashboard, names_of
from inkwash.commands.sync import still_trains
from inkwash.config.cli import compose
from inkwash.config.schema import Dashboard
from inkwash.errors import UserError
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory
from support.wandb_panels import shown_by
from support.wandb_server import Server


def inkwash(command, *arguments, cwd, **environment):
    """Run python -m inkwash.<command> where there is no API key."""
    there = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-m", f"inkwash.{command}", *arguments], cwd=cwd, capture_output=True, text=True, timeout=200,
        env={**there, "NETRC": str(cwd / "netrc"), **environment},
    )  # fmt: skip


def a_run(directory, values="train/loss,metrics/fd_classifier_8", **about):
    """A run directory as far as these commands look into it."""
    directory.mkdir(parents=True)
    config = OmegaConf.to_container(compose("data.batch_size=16", "logger.wandb.project=mine"), resolve=True)
    RunDirectory(directory).write_config({key: value for key, value in config.items() if key not in OF_THE_LAUNCH})
    (directory / "run.json").write_text(json.dumps({"id": "abc", "choices": {"schedule": "cosine"}, **about}))
    if values:
        (directory / "metrics.csv").write_text(f"step,{values}\n1,0.5,3\n")
        (directory / "metrics.jsonl").write_text('{"step": 1, "name": "fd_classifier_8", "value": 3}\n')
    return directory


def record(directory, name, synced=False):
    folder = directory / "wandb" / name
    folder.mkdir(parents=True)
    (folder / "run-abc.wandb").write_bytes(b"x" * 10**6)
    if synced:
        (folder / "run-abc.wandb.synced").touch()


def test_without_a_key_it_is_written_to_a_file(tmp_path):
    run = a_run(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "latest").symlink_to("one")
    done = inkwash("dashboard", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runs/dashboard.json    not in W&B yet: there is no API key\n")
    assert "wandb login && make dashboard run=latest" in done.stdout
    view = json.loads((tmp_path / "runs" / "dashboard.json").read_text())
    assert view["project"] == "mine"
    assert shown_by(view)["config"] == {"run.choices.schedule", "optimizer.lr", "data.batch_size", "seed"}
    (run / "metrics.csv").unlink()
    with pytest.raises(UserError, match="has no metrics.csv yet: a dashboard shows what a run has logged"):
        names_of(RunDirectory(run))


@pytest.mark.parametrize("out", ["pipe", "runs", "pipe/x"])
def test_it_replaces_nothing_but_files(out, tmp_path, monkeypatch, capsys):
    a_run(tmp_path / "runs" / "one")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        dashboard(OmegaConf.structured(Dashboard(run="one", out=out)))
    assert capsys.readouterr().err.startswith(
        "error: out=pipe " if "pipe" in out else "error: out=runs exists and is not a regular file"
    )
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "runs"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("metrics.csv", b"", "is empty"), ("metrics.csv", b"step\n", "is empty"),
     ("metrics.csv", b"\xff\xfe", "is damaged"), ("run.json", b"{", "is damaged"), ("run.json", b"[]", "is damaged"),
     ("run.json", None, "is missing")],
)  # fmt: skip
def test_a_damaged_record_is_named(tmp_path, name, content, says):
    path = a_run(tmp_path / "one") / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} {says}"):
        names_of(RunDirectory(path.parent))


def test_a_pipe_is_not_waited_for(tmp_path):
    path = a_run(tmp_path / "one") / "metrics.csv"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="has no metrics.csv yet"):
        names_of(RunDirectory(path.parent))
    os.mkfifo(path.parent / "train.log")
    assert not still_trains(path.parent)


@pytest.mark.slow
def test_with_a_key_it_is_saved_among_ones_own_projects(tmp_path):
    a_run(tmp_path / "runs" / "one")
    server = Server()
    done = inkwash("dashboard", "run=one", "name=Mine", cwd=tmp_path, **server.environment)
    server.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{server.url}/me/mine?nw=abc    saved in W&B\n")
    assert not (tmp_path / "runs" / "dashboard.json").exists()
    (sent,) = [variables for name, variables in server.asked if name == "UpsertView2"]
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("me", "mine", "Mine")
    assert shown_by({"spec": json.loads(sent["spec"])})["history"] == {"train/loss", "metrics/fd_classifier_8"}


# --- Uploading --------------------------------------------------------------------------------------------------------


def test_sync_lists_what_is_left_and_needs_a_key(tmp_path):
    one, job = a_run(tmp_path / "runs" / "one"), a_run(tmp_path / "runs" / "sweep" / "job")
    record(one, "offline-run-20260101_000000-abc", synced=True)
    record(one, "offline-run-20260102_000000-abc")
    record(job, "offline-run-20260103_000000-abc")
    done = inkwash("sync", "dry=true", cwd=tmp_path)
    listed = [
        "runs/one    offline-run-20260102_000000-abc    1.0 MB",
        "runs/sweep/job    offline-run-20260103_000000-abc    1.0 MB",
    ]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, listed, "")
    refused = inkwash("sync", "run=sweep/job", cwd=tmp_path)
    assert (refused.returncode, refused.stdout.splitlines()) == (1, listed[1:])
    assert refused.stderr == "error: there is no API key to upload with: run `wandb login`, or set WANDB_API_KEY\n"


@pytest.mark.slow
def test_sync_leaves_a_run_alone_that_trains(tmp_path):
    run = a_run(tmp_path / "runs" / "one")
    record(run, "offline-run-20260102_000000-abc")
    holder = "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    command = [sys.executable, "-u", "-c", holder, run / "train.log"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    done = inkwash("sync", "dry=true", cwd=tmp_path)
    process.communicate()
    assert done.stdout.splitlines()[0] == "runs/one    left alone: it is still training"
    assert "offline-run" not in done.stdout
    assert "offline-run" in inkwash("sync", "dry=true", cwd=tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["dashboard", "sync"])
def test_a_server_that_is_not_there_is_named(tmp_path, command):
    record(a_run(tmp_path / "runs" / "one"), "offline-run-20260102_000000-abc")
    (tmp_path / "runs" / "latest").symlink_to("one")
    done = inkwash(command, cwd=tmp_path, WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9 cannot be reached")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_that_was_uploaded_has_nothing_left(tmp_path):
    record(a_run(tmp_path / "runs" / "one"), "offline-run-20260101_000000-abc", synced=True)
    done = inkwash("sync", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "nothing to upload: W&B has all of runs\n")


# --- The whole way ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_default_run_has_its_dashboard(tmp_path):
    quick = ("debug=fast", "trainer=cpu", "trainer.threads=1", "model.channels=8", "data.batch_size=16", "run=one")
    done = inkwash("train", *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert inkwash("dashboard", cwd=tmp_path).returncode == 0
    shown = shown_by(json.loads((tmp_path / "runs" / "dashboard.json").read_text()))
    groups = ("model", "schedule", "prediction", "weighting", "times", "loss")
    assert shown["config"] == {*(f"run.choices.{g}" for g in groups), "optimizer.lr", "data.batch_size", "seed"}
    (mine,) = (tmp_path / "runs" / "one" / "wandb").glob("offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", mine]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in shown["history"] | shown["summary"]:
        assert f'"{name}"' in text, name
    for name in shown["media"]:
        assert f'"{name}._type"' in text, name
    for group, choice in {"schedule": "cosine", "prediction": "v", "loss": "l2"}.items():
        assert f'"{group}":"{choice}"' in text
