"""What W&B gets, read back from its own records: `wandb leet inspect` decodes what `wandb sync` uploads."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import wandb
from PIL import Image

from inkwash.commands.dashboard import names_of
from inkwash.config.instantiate import build
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import commit
from inkwash.tracking import wandb_logger
from inkwash.tracking.wandb_jobs import JobTracker
from inkwash.tracking.wandb_logger import Tracker
from inkwash.tracking.wandb_offline import records, sync_command
from inkwash.tracking.wandb_workspace import Logged, to_json
from inkwash.tracking.wandb_workspace import build as build_workspace
from support import runs
from support.wandb_panels import shown_by
from support.wandb_server import Server

# A row for every step, and nothing that takes long to judge.
ROWS = (
    "logger=wandb", "~callbacks.evaluation", "trainer.max_steps=8", "callbacks.log.every_n_steps=1",
    "callbacks.heldout.every_n_steps=1", "callbacks.heldout.num_images=8", "callbacks.samples.every_n_steps=4",
    "callbacks.checkpoint.every_n_steps=4", "learning_rate.total_steps=8", "learning_rate.warmup_steps=2",
)  # fmt: skip


@cache
def read(record):
    """Everything W&B wrote down, in its order."""
    wandb = Path(sys.executable).parent / "wandb"
    command = [wandb, "leet", "inspect", "--json", str(record)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def of(lines, kind):
    return [line[kind] for line in lines if line["type"] == kind]


def history(directory):
    """{key: [(step, value), ...]} over all starts of a run, in the order that they were sent."""
    found = {}
    for record in records(directory):
        for row in of(read(record), "history"):
            for name, value in row["item"].items():
                found.setdefault(name, []).append((row["item"]["trainer/global_step"], value))
    return found


def summary(directory):
    """What the run's row in W&B's table says at the end."""
    found = {}
    for record in records(directory):
        for update in of(read(record), "summary"):
            found |= update.get("update", {})
    return found


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, quick_run_in):
    """A run with metrics and artifacts, and what W&B has of it."""
    options = (
        "logger=wandb", "logger.wandb.group=trials", "logger.wandb.job_type=study", "logger.wandb.tags=[a,b]",
        "logger.wandb.notes=two words", "logger.wandb.name=shown", "logger.wandb.artifacts=true",
        "callbacks.evaluation.every_n_steps=2", "callbacks.samples.neighbours=true",
    )  # fmt: skip
    directory = quick_run_in(tmp_path_factory.mktemp("tracked") / "run", *options)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_DATA_DIR", raising=False)  # of a run before this one in the same process
        train(directory)
    (record,) = records(directory)
    return directory, record, read(record)


def test_the_run_is_described(tracked):
    run = of(tracked[2], "run")[0]
    expected = {"run_id": "testrun1", "display_name": "shown", "run_group": "trials", "job_type": "study"}
    expected |= {"tags": ["a", "b"], "notes": "two words", "project": "inkwash"}
    assert {key: run.get(key) for key in expected} == expected


def test_the_configuration_is_nested_and_resolved(tracked):
    config = {}
    for update in of(tracked[2], "config"):
        config |= update["update"]
    assert {key: config[key] for key in config if key not in ("run", "_wandb")} == RunDirectory(tracked[0]).config
    assert config["run"]["parameters"] > 1000
    assert "${" not in json.dumps(config)


def test_every_value_is_plotted_against_the_optimizer_step(tracked):
    rows = [row["item"] for row in of(tracked[2], "history")]
    own = {"_runtime", "_step", "_timestamp", "trainer/global_step"}
    # W&B flattens what a picture or a table consists of.
    pictures = ("samples", "neighbours")
    logged = {name.split("._")[0].split(".")[0] if name.startswith(pictures) else name for r in rows for name in r}
    defined = {m["name"]: m.get("step_metric") for m in of(tracked[2], "metric") if "name" in m}
    assert {name: defined.get(name) for name in logged - own} == dict.fromkeys(logged - own, "trainer/global_step")
    assert all("trainer/global_step" in row for row in rows)
    assert {"train/loss", "metrics/fd_classifier_8", "samples", "samples_by_class"} <= logged


def test_the_summary_has_the_best_and_the_last(tracked):
    directory = tracked[0]
    told, values = summary(directory), history(directory)
    fd, accuracy = ([v for _, v in values[f"metrics/{name}_classifier_8"]] for name in ("fd", "accuracy"))
    assert len(fd) == 2
    assert (told["best/fd_classifier_8"], told["metrics/fd_classifier_8"]) == (min(fd), fd[-1])
    assert (told["best/accuracy_classifier_8"], told["metrics/accuracy_classifier_8"]) == (max(accuracy), accuracy[-1])
    assert told["best/heldout_loss"] == min(v for _, v in values["heldout/loss"])
    assert {name for name in told if name.startswith("best/")} == {
        "best/fd_classifier_8", "best/accuracy_classifier_8", "best/heldout_loss",
    }  # fmt: skip


def test_the_time_that_metrics_took_is_logged(tracked):
    directory = tracked[0]
    told = json.loads((directory / "summary.json").read_text())
    measured = sum(seconds for _, seconds in history(directory)["metrics/seconds"])
    assert told["seconds_measuring"] == pytest.approx(measured, abs=0.06)
    assert told["share_measuring"] == pytest.approx(measured / told["seconds"], rel=0.1)
    said = re.search(r"metrics took ([\d.]+)% of the time", (directory / "train.log").read_text())
    assert said is not None
    assert float(said[1]) == pytest.approx(100 * told["share_measuring"], rel=0.1)


def test_grids_are_pictures_of_their_step(tracked):
    directory, record, _ = tracked
    values = history(directory)
    for key, prefix in (("samples", "step"), ("neighbours", "neighbours-step")):
        assert values[f"{key}.captions"] == [(2, ["step 2"]), (4, ["step 4"])]
        files = [record / "files" / name for _, (name,) in values[f"{key}.filenames"]]
        ours = sorted((directory / "samples").glob(f"{prefix}-*.png"))
        for file, mine in zip(files, ours, strict=True):
            assert pixels(file) == pixels(mine)


def test_every_panel_shows_something_that_was_logged(tracked):
    directory, _, lines = tracked
    config = {}
    for update in of(lines, "config"):
        config |= update["update"]
    view = build_workspace(Logged(**names_of(RunDirectory(directory))), "", "inkwash", "Inkwash")
    shown = shown_by(json.loads(to_json(view)))
    media = {name.removesuffix("._type") for name in history(directory) if name.endswith("._type")}
    assert shown["media"] == media == {"samples", "samples_by_class", "neighbours"}
    others = ("samples", "neighbours", "_", "trainer/")
    numbers = {name for name in history(directory) if not name.startswith(others)}
    # The judge's own accuracy is one number, which is no curve.
    assert shown["history"] == numbers - {"metrics/classifier_heldout_accuracy"}
    assert shown["summary"] == {name for name in summary(directory) if name.startswith("best/")}
    for key in shown["config"]:
        value = config
        for part in key.split("."):
            value = value[part]
        assert value is not None, key


def test_a_table_shows_every_class(tracked):
    directory, _, lines = tracked
    assert [step for step, _ in history(directory)["samples_by_class.nrows"]] == [2, 4]
    grids = sorted((directory / "samples").glob("step-*.png"))
    tables = [artifact for artifact in of(lines, "artifact") if artifact["type"] == "run_table"]
    for artifact, path in zip(tables, grids, strict=True):
        files = {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
        table = json.loads(files["samples_by_class.table.json"].read_text())
        assert table["columns"] == ["class", "noise", "image"]
        assert [row[:2] for row in table["data"]] == [[0, 0], [1, 1], [2, 2], [3, 3]]
        # Image i is the i-th of the grid, which is 2 wide and has gaps of 2 pixels.
        with Image.open(path) as sheet:
            for i, row in enumerate(table["data"]):
                left, top = 2 + 66 * (i % 2), 2 + 66 * (i // 2)
                assert pixels(files[row[2]["path"]]) == sheet.crop((left, top, left + 64, top + 64)).tobytes()


def test_checkpoints_are_artifacts_that_are_run_directories(tracked, tmp_path):
    directory, _, lines = tracked
    models = [artifact for artifact in of(lines, "artifact") if artifact["type"] == "model"]
    assert [set(artifact["aliases"]) - {"latest"} for artifact in models] == [{"best"}, {"last"}]
    assert {artifact["name"] for artifact in models} == {"checkpoint-testrun1"}
    for artifact, name in zip(models, ("best.ckpt", "last.ckpt"), strict=True):
        for entry in artifact["manifest"]["contents"]:
            # Copied within the run directory, to be uploaded from there whatever training does next.
            assert Path(entry["local_path"]).is_relative_to(directory)
            target = tmp_path / name / entry["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(entry["local_path"]).read_bytes())
        assert load_run(tmp_path / name, name).step == 4


def pixels(path):
    return Image.open(path).convert("RGB").tobytes()


@pytest.mark.slow
def test_an_evaluation_uses_the_artifact_of_the_training(tracked, tmp_path):
    """The same content is the same version, whoever sends it."""
    directory, _, lines = tracked
    rows = [{"name": "a", "fd_classifier_8": 1.5}, {"name": "b", "fd_classifier_8": 2.5, "kid_classifier_8": 0.1}]
    job = directory / "evaluations" / "job"
    job.mkdir(parents=True)
    JobTracker(tags=["c"])(job, "evaluation", {"asked": 1}, directory, ["best.ckpt"], rows, [job / "none.png"])
    records_now = records(directory)
    assert len(records_now) == 2
    told = read(next(record for record in records_now if job in record.parents))
    run = of(told, "run")[0]
    expected = {"run_id": "testrun1-job", "job_type": "evaluation", "project": "inkwash", "tags": ["c"]}
    assert {key: run[key] for key in expected} == expected
    (used,) = [artifact for artifact in of(told, "artifact") if artifact["type"] == "model"]
    (made,) = [a for a in of(lines, "artifact") if a["type"] == "model" and "best" in a["aliases"]]
    assert used["use_after_commit"] is True
    assert (used["name"], used["digest"]) == (made["name"], made["digest"])
    final = {}
    for update in of(told, "summary"):
        final |= update.get("update", {})
    assert (final["fd_classifier_8"], final["table.nrows"], final["table.ncols"]) == (1.5, 2, 3)
    shutil.rmtree(job)


@pytest.mark.slow
def test_a_resumed_run_has_every_point_once(quick_run):
    """It stopped after step 7 with a checkpoint of step 4: steps 5 to 7 are trained twice, and sent once."""
    bomb = ("+callbacks.bomb._target_=support.parts.Bomb", "+callbacks.bomb.rank=0", "+callbacks.bomb.step=7")
    directory = quick_run("run", *ROWS, *bomb)
    with pytest.raises(RuntimeError, match="the bomb went off"):
        train(directory)
    first = summary(directory)["best/heldout_loss"]
    quick_run("run", *ROWS)
    train(directory)
    assert len(records(directory)) == 2
    values = history(directory)
    assert [step for step, _ in values["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, _ in values["heldout/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, _ in values["samples.count"]] == [4, 8]
    assert summary(directory)["best/heldout_loss"] == min(first, values["heldout/loss"][-1][1])
    assert {of(read(record), "run")[0]["run_id"] for record in records(directory)} == {"testrun1"}


@pytest.mark.slow
def test_the_best_of_steps_that_are_done_again_counts(quick_run):
    """W&B has them, metrics.csv has forgotten them: the least loss was that of step 2 of 3, and 4 is no better."""
    directory = quick_run("run")
    for losses in ([3.0, 1.0, 2.0], [3.0, 1.0, 2.0, 1.5]):
        tracker = Tracker(str(directory), "inkwash")
        for step, loss in enumerate(losses, 1):
            tracker.log_metrics({"heldout/loss": loss}, step)
        wandb_logger.finish(failed=False)
    assert [step for step, _ in history(directory)["heldout/loss"]] == [1, 2, 3, 4]
    assert summary(directory)["best/heldout_loss"] == 1


# --- A server that is not there, and W&B's own variables --------------------------------------------------------------


@pytest.fixture
def online(monkeypatch):
    """A stand-in for the server, which the variables name."""
    wandb.teardown()  # its settings are of the server before
    server = Server()
    for name, value in {**server.environment, "WANDB_MODE": "online"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    yield server
    wandb_logger.finish(failed=False)
    wandb.teardown()
    server.close()


def logged_by(tracker, loss=1.0, step=1):
    tracker.log_metrics({"heldout/loss": loss}, step)
    wandb_logger.finish(failed=False)


@pytest.mark.slow
def test_an_online_run_goes_on_offline_without_a_route(quick_run, online, monkeypatch, caplog):
    """wandb#9865, wandb#7671: it died of the server after 99 s. It is the same run as with the route."""
    directory = quick_run("run")
    logged_by(Tracker(str(directory)))
    assert [row["heldout/loss"] for row in online.rows["testrun1"]] == [1.0]
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    tracker = Tracker(str(directory))
    tracker.log_metrics({"heldout/loss": 1.0}, 1)  # a step that is made again
    logged_by(tracker, 0.5, 2)
    assert "http://127.0.0.1:9 cannot be reached" in caplog.text
    assert history(directory)["heldout/loss"] == [(2, 0.5)]
    (record,) = records(directory)
    assert of(read(record), "run")[0]["run_id"] == "testrun1"


def test_a_server_that_refuses_the_key_costs_no_training(quick_run, online, monkeypatch, caplog):
    monkeypatch.setattr(online, "answer", lambda *_: {"data": {"viewer": None}, "errors": [{"message": "no access"}]})
    directory = quick_run("run")
    logged_by(Tracker(str(directory)))
    assert re.search(r"the server refuses the run \(.*\): it is logged offline", caplog.text)
    assert history(directory)["heldout/loss"] == [(1, 1.0)]


def test_a_job_without_a_route_is_logged_offline(tracked, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setenv("WANDB_TAGS", "d,e")
    JobTracker()(tmp_path, "sampling", {}, tracked[0], [], [])
    assert "cannot be reached" in caplog.text
    (record,) = tmp_path.glob("wandb/offline-run-*")
    assert of(read(record), "run")[0]["tags"] == ["d", "e"]


@pytest.mark.slow
def test_a_server_that_goes_away_does_not_hold_the_end(quick_run, online, monkeypatch, caplog):
    """By default W&B waits for it without end."""
    monkeypatch.setattr(wandb_logger, "FINISH_SECONDS", 1.0)
    directory = quick_run("run")
    tracker = Tracker(str(directory))
    tracker.log_metrics({"heldout/loss": 1.0}, 1)
    online.close()
    start = time.monotonic()
    logged_by(tracker, 0.5, 2)
    assert time.monotonic() - start < 30
    assert re.search(r"cannot be reached any more \(.*upload the rest with: wandb sync \S+/wandb/run-", caplog.text)


@pytest.mark.parametrize("installed", [False, True])
def test_wandb_has_our_commit_or_none(quick_run, tmp_path, monkeypatch, installed):
    """Not that of the repository where the command was started."""
    commands = (
        ("init", "-q"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"),
    )
    for command in commands:
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    if installed:
        monkeypatch.setattr(wandb_logger, "checkout", lambda: None)
    directory = quick_run("run")
    logged_by(Tracker(str(directory), mode="offline"))
    (record,) = records(directory)
    git = of(read(record), "run")[0].get("git", {})
    assert git.get("commit") == (None if installed else commit())


def test_null_is_wandbs_variable_and_a_typed_value_wins(quick_run, monkeypatch):
    """pytorch-lightning#16028."""
    directory = quick_run("run", "logger=wandb")
    variables = {
        "PROJECT": "thesis", "NAME": "n", "TAGS": "a,b", "NOTES": "why", "RUN_GROUP": "g", "JOB_TYPE": "study",
        "ENTITY": "us", "MODE": "dryrun",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    node = RunDirectory(directory).config["logger"]["wandb"]
    arguments = build(node, directory=str(directory))._wandb_init
    names = ("project", "name", "tags", "notes", "group", "job_type", "entity", "mode")
    assert [arguments[name] for name in names] == ["thesis", "n", ["a", "b"], "why", "g", "study", "us", "offline"]
    typed = {"project": "inkwash", "name": "x", "tags": [], "notes": "y", "group": "z", "job_type": "train"}
    typed |= {"entity": "me", "mode": "disabled"}
    arguments = build({**node, **typed}, directory=str(directory))._wandb_init
    assert {name: arguments[name] for name in names} == typed
    for name in variables:
        monkeypatch.delenv(f"WANDB_{name}")
    arguments = build(node, directory=str(directory))._wandb_init
    assert [arguments[name] for name in names[:6]] == ["inkwash", "run", None, None, None, "train"]


@pytest.mark.slow
def test_an_upload_has_every_point_and_every_use_once(quick_run, tmp_path):
    """By the requests that `wandb sync` makes for two starts of a run and an evaluation."""
    bomb = ("+callbacks.bomb._target_=support.parts.Bomb", "+callbacks.bomb.rank=0", "+callbacks.bomb.step=7")
    directory = quick_run("run", *ROWS, *bomb)
    with pytest.raises(RuntimeError, match="the bomb went off"):
        train(directory)
    quick_run("run", *ROWS, "logger.wandb.artifacts=true")
    train(directory)
    job = directory / "evaluations" / "job"
    job.mkdir(parents=True)
    JobTracker()(job, "evaluation", {}, directory, ["last.ckpt"], [{"name": "a", "fd_classifier_8": 1.5}])
    assert len(records(directory)) == 3
    server = Server()
    done = subprocess.run(
        [sys.executable, "-m", "inkwash.sync", f"run={directory}"], capture_output=True, text=True,
        env={**os.environ, **server.environment},
    )  # fmt: skip
    server.close()
    assert done.returncode == 0, done.stderr
    assert records(directory) == []
    assert server.rows.keys() == {"testrun1", "testrun1-job"}
    steps = [row["trainer/global_step"] for row in server.rows["testrun1"] if "train/loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert server.counts["UseArtifact"] == 1
    sent = [variables["input"] for name, variables in server.asked if name == "CreateArtifact"]
    models = [artifact for artifact in sent if artifact["artifactTypeName"] == "model"]
    (made,) = [m["digest"] for m in models if "last" in [alias["alias"] for alias in m["aliases"]]]
    assert [m["digest"] for m in models].count(made) == 2  # once more as what the evaluation used


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 6, 7])
def test_a_killed_run_has_every_point_once(quick_run, monkeypatch, step):
    death = (
        "+callbacks.death._target_=support.faults.Signal",
        "+callbacks.death.number=9",
        f"+callbacks.death.step={step}",
    )
    monkeypatch.setenv("INKWASH_TRUST", "support")
    directory = quick_run("run", *ROWS, *death)
    # Not with the W&B service of this process.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment["PYTHONPATH"] = runs.environment()["PYTHONPATH"]
    job, config = "inkwash.jobs.train:train", str(directory / "config.yaml")
    command = [sys.executable, "-m", "inkwash.launch.rank", job, config]
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -9
    quick_run("run", *ROWS)
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    values = history(directory)
    assert [at for at, _ in values["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [at for at, _ in values["samples.count"]] == [4, 8]


@pytest.mark.slow
def test_unlabelled_runs_and_quiet_ones_send_no_table(quick_run):
    for name, options in {
        "unlabelled": ("model.num_classes=null",), "quiet": ("logger.wandb.sample_table=false",),
    }.items():  # fmt: skip
        directory = quick_run(name, *ROWS, "trainer.max_steps=1", *options)
        train(directory)
        values = history(directory)
        assert "samples.count" in values
        assert not [key for key in values if key.startswith("samples_by_class")]
        assert not [a for a in of(read(records(directory)[0]), "artifact") if a["type"] == "model"]


@pytest.mark.slow
def test_a_disabled_run_leaves_no_records(quick_run):
    directory = quick_run("run", *ROWS, "trainer.max_steps=1", "logger.wandb.mode=disabled")
    train(directory)
    assert records(directory) == []
    assert sync_command(directory) is None
    assert (directory / "metrics.csv").exists()


def test_variables_that_are_not_followed_are_told(quick_run, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    monkeypatch.setenv("WANDB_RESUME", "must")
    Tracker(str(quick_run("run")))
    assert "WANDB_DIR=/elsewhere has no effect: records stay in the run directory" in caplog.text
    assert "WANDB_RESUME=must has no effect: a run continues its own W&B run: pass resume=must" in caplog.text
