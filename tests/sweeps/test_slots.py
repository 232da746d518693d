"""Jobs side by side, each with its own devices (jobs take no time: support.fast_jobs)."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from support.sweeps import ROOT, jobs, run


@pytest.mark.slow
def test_no_two_jobs_share_a_gpu_and_a_crash_frees_it(tmp_path):
    arguments = ("sweep=mine", "optimizer.lr=1,2,3,4,5,6", "launcher=gpus", "hydra.launcher.gpus_per_job=2")
    result = run(*arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES="2,3,5,7,8,9", SECONDS="2", DIE="2")
    directory = tmp_path / "runs" / "mine"
    assert result.returncode == 1, result.stderr
    assert "running: optimizer.lr=2: " in result.stdout
    ran = jobs(directory)
    assert len(ran) == 5
    assert {job["gpus"] for job in ran.values()} == {"2,3", "5,7", "8,9"}
    live = sorted((job["started"], job["ended"], job["gpus"]) for job in ran.values())
    for (_, ended, gpus), (started, _, others) in itertools.combinations(live, 2):
        assert gpus != others or started >= ended
    # At some moment there were as many as there are slots.
    assert max(sum(a <= start < b for a, b, _ in live) for start, _, _ in live) == 3


def test_gpus_that_cannot_be_shared_out_are_refused(tmp_path):
    for gpus, sentence in (("0,1,2", "gpus_per_job=2 does not divide 3 GPUs evenly"), ("", "finds no GPU")):
        arguments = ("seed=1,2", "launcher=gpus", "hydra.launcher.gpus_per_job=2")
        result = run(*arguments, cwd=tmp_path, module="inkwash.train", CUDA_VISIBLE_DEVICES=gpus)
        assert result.returncode == 1
        assert sentence in result.stderr
        assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_ends_the_jobs_and_starts_no_other(tmp_path):
    """A signal for the sweep's process alone, as a scheduler sends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.fast_jobs", "--multirun", "sweep=mine", "seed=1,2,3", "launcher=parallel"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "SECONDS": "99"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    begun, deadline = tmp_path / "runs" / "mine" / "begun", time.monotonic() + 60
    while not begun.exists() or len(begun.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert len(begun.read_text().splitlines()) == 2
    lines = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout.splitlines()
    assert not [line for line in lines if "fast_jobs" in line and "seed=1,2,3" in line]
