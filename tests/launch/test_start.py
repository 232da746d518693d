"""Test how many processes a command starts."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from inkwash.launch import start as starting
from inkwash.launch.elastic import count_devices
from inkwash.launch.report import report_of_ranks


@pytest.mark.parametrize(
    ("accelerator", "devices", "single"),
    [
        ("cpu", 1, True),
        ("cpu", "1", True),
        ("cpu", 2, False),
        ("cpu", "auto", True),
        ("gpu", 4, False),
        ("gpu", 1, True),
    ],
)
def test_one_process_is_started_without_torchs_launcher(accelerator, devices, single):
    assert starting.is_single(accelerator, devices) is single


@pytest.mark.skipif(sys.platform != "linux", reason="counts Linux's device files")
@pytest.mark.parametrize(
    ("files", "visible", "single"),
    [
        ([], None, True),
        (["nvidia0", "nvidiactl"], None, True),
        (["nvidia0", "nvidia1"], None, False),
        (["nvidia0", "nvidia1"], "1", True),
        (["nvidia0", "nvidia1"], "", True),
        (["nvidia0", "nvidia1"], "0,1", False),
        (["kfd"], None, False),  # torch has to count AMD's
    ],
)
def test_gpus_are_counted_by_their_device_files(tmp_path, monkeypatch, files, visible, single):
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(starting, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert starting.is_single("auto", "auto") is single


def test_device_files_and_torch_agree_on_this_machine():
    assert starting.is_single("auto", "auto") is (count_devices("auto", "auto") == 1) or torch.cuda.device_count() == 1


JOB = """
import os, sys, time
from pathlib import Path

def show(directory):
    (directory / "shown").write_text(f"{os.getppid()} {os.environ['WORLD_SIZE']} {os.environ['RANK']}")

def die(directory):
    os.kill(os.getpid(), 9)

def wait(directory):
    (directory / "shown").write_text(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    (tmp_path / "jobs_of_this_test.py").write_text(JOB)
    (tmp_path / "config.yaml").write_text("")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def test_the_command_is_the_parent_of_a_single_rank(directory):
    assert starting.start("jobs_of_this_test:show", directory / "config.yaml", "cpu", 1) == 0
    assert (directory / "shown").read_text() == f"{os.getpid()} 1 0"


def test_a_single_rank_that_is_killed_is_reported(directory, capfd):
    """The kernel does that when memory runs out."""
    assert starting.start("jobs_of_this_test:die", directory / "config.yaml", "cpu", 1) == 1
    assert "error: rank 0 was ended by SIGKILL (out of memory?" in capfd.readouterr().err
    assert "SIGKILL" in (directory / "error.txt").read_text()


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("config.yaml", "(out of memory? raise trainer.accumulate_grad_batches, or lower data.batch_size)"),
        ("sample.yaml", "(out of memory? lower batch_size)"),
        ("evaluate.yaml", "(out of memory? lower batch_size)"),
        ("encode.yaml", "(out of memory? lower autoencoder.batch_size)"),
        ("data.yaml", "(out of memory?)"),
        ("report.json", "(out of memory?)"),
    ],
)
def test_a_job_is_told_its_own_keys(tmp_path, capsys, file, advice):
    (tmp_path / file).touch()
    assert report_of_ranks(tmp_path, {0: -signal.SIGKILL}) == 1
    assert capsys.readouterr().err == f"error: rank 0 was ended by SIGKILL {advice}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_single_rank_ends_with_its_command(directory):
    code = (
        "from pathlib import Path; from inkwash.launch.start import start\n"
        f"start('jobs_of_this_test:wait', Path({str(directory / 'config.yaml')!r}), 'cpu', 1)"
    )
    command = subprocess.Popen([sys.executable, "-c", code])
    while not (directory / "shown").exists() or not (directory / "shown").read_text():
        assert command.poll() is None
        time.sleep(0.02)
    rank = int((directory / "shown").read_text())
    command.kill()
    command.wait()
    for _ in range(500):
        if not is_running(rank):
            return
        time.sleep(0.02)
    raise AssertionError("the rank lives on")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False
