"""What MLflow gets, read back by its client from its folder, and from a real server."""

import csv
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
import torch
from mlflow import MlflowClient

from inkwash.reach import problem_of
from inkwash.tracking.mlflow_logger import MLflow
from inkwash.tracking.open_loggers import VARIABLES

PICTURE = torch.zeros(3, 4, 4, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """MLflow's own, as they are on a machine that sets none, and what the logger sets."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "runs" / "run"
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"id": "abc12345", "sweep": None}))
    return path


def stored(uri, experiment="inkwash"):
    """Return the only run of an experiment, {name: [(step, value)]}, and the names and steps of its pictures."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    names = run.data.metrics
    values = {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in names}
    files = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    pictures = [re.split(r"[/+]", file)[1:4:2] for file in files]
    points = {name: sorted(points) for name, points in values.items()}
    return run, points, sorted((name, int(step)) for name, step in pictures)


def store(directory):
    return (directory.parent / "mlruns").as_uri()


def test_a_training_is_there_with_numbers_grids_and_configuration(fit_run, tmp_path, capsys):
    directory, _, _ = fit_run("run", "logger=[mlflow,csv]", "~callbacks.evaluation")
    run, values, pictures = stored((tmp_path / "mlruns").as_uri())
    with open(directory / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                there = [logged for at, logged in values[name] if at == step]
                assert there == ([float(value)] if value else [])
    assert pictures == [("samples", 2), ("samples", 4)]
    assert run.data.params["model.channels"] == "8"
    assert run.data.tags["inkwash.id"] == "testrun1"
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    assert "mlflow" in (directory / "train.log").read_text()
    assert "mlflow" not in capsys.readouterr().err.replace("logs         csv, mlflow", "")


def test_a_resumed_run_goes_on_in_the_same_run(directory):
    """Repeated steps are there once, and a parameter that MLflow would not let change is a tag."""
    first = MLflow(str(directory))
    first.log_hyperparams({"trainer": {"max_steps": 6}, "seed": 0})
    for step in (2, 4, 6):
        first.log_metrics({"a/b": step, "loss_by_log_snr/-inf_to_1e+02": 0.0}, step)
        first.log_picture("samples", PICTURE, step)
    first.close(failed=True)
    assert stored(store(directory))[0].info.status == "FAILED"
    second = MLflow(str(directory))
    second.log_hyperparams({"trainer": {"max_steps": 8}, "seed": 0, "new": 1})
    for step in (6, 8):
        second.log_metrics({"a/b": 10 * step}, step)
        second.log_picture("samples", PICTURE, step)
    run, values, pictures = stored(store(directory))
    assert values["a/b"] == [(2, 2), (4, 4), (6, 6), (8, 80)]
    assert "loss_by_log_snr/-inf_to_1e_02" in values
    assert pictures == [("samples", step) for step in (2, 4, 6, 8)]
    assert run.data.params == {"trainer.max_steps": "6", "seed": "0", "new": "1"}
    assert run.data.tags["trainer.max_steps"] == "8"
    assert run.info.status == "RUNNING"


def test_where_it_logs(directory, monkeypatch):
    """What is typed wins, then MLflow's own variables; a sweep's jobs share a folder and an experiment."""
    assert MLflow(str(directory)).uri == store(directory)
    (directory / "run.json").write_text(json.dumps({"id": "abc12345", "sweep": "study"}))
    job = MLflow(str(directory))
    assert (job.uri, job.experiment_name) == ((directory.parents[1] / "mlruns").as_uri(), "study")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert (MLflow(str(directory)).uri, MLflow(str(directory)).experiment_name) == ("http://tracking:5000", "theirs")
    typed = MLflow(str(directory), tracking_uri="sqlite:///x.db", experiment="mine", name="shown")
    assert (typed.uri, typed.experiment_name, typed.run_name) == ("sqlite:///x.db", "mine", "shown")


def test_a_server_that_is_not_there_is_replaced_by_the_folder(directory, caplog):
    logger = MLflow(str(directory), tracking_uri="http://me:secret@127.0.0.1:9/x")
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        logger.log_metrics({"a": 1.0}, 1)
    assert time.monotonic() - start < 20
    assert "http://127.0.0.1:9/x cannot be reached" in caplog.text
    assert f"this is logged to {store(directory)}" in caplog.text
    assert "secret" not in caplog.text
    assert stored(store(directory))[1] == {"a": [(1, 1.0)]}


@pytest.fixture
def server(tmp_path):
    """A real server, on SQLite: its process and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    where = [f"--backend-store-uri=sqlite:///{tmp_path}/mlflow.db", f"--artifacts-destination={tmp_path / 'files'}"]
    url, said = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    with open(said, "w") as file:
        process = subprocess.Popen([*command, *where], stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while problem_of(urlsplit(url), 2) is not None:
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()  # noqa: PT018
            time.sleep(0.5)
        yield process, url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)  # the server takes its time to start
def test_a_real_server(server, directory, monkeypatch, caplog):
    """It gets all, goes on after a resume, and when it dies the training goes on within a minute."""
    process, url = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    for start in (2, 4):
        logger = MLflow(str(directory))
        logger.log_hyperparams({"model": {"channels": start}})
        for step in (start, start + 2):
            logger.log_metrics({"a": float(step)}, step)
            logger.log_picture("samples", PICTURE, step)
    run, values, pictures = stored(url)
    assert values == {"a": [(2, 2.0), (4, 4.0), (6, 6.0)]}
    assert pictures == [("samples", 2), ("samples", 4), ("samples", 6)]
    assert (run.data.params["model.channels"], run.data.tags["model.channels"]) == ("2", "4")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        logger.log_metrics({"a": 8.0}, 8)
        logger.log_metrics({"a": 10.0}, 10)
        logger.close(failed=False)
    assert time.monotonic() - begun < 60
    assert caplog.text.count("metrics.csv goes on without it") == 1
