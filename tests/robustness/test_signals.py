"""A signal ends the training after the step that is under way, with a checkpoint and a code that says so."""

import json
import signal
import subprocess
import sys
import time

import pytest

from support.run_diff import assert_same_run, checkpoint
from support.runs import environment
from support.selection import mostly_slow

STEPS = ("trainer.max_steps=8", "callbacks.checkpoint.every_n_steps=100", "callbacks.log.every_n_steps=3")
TWO = ("trainer=ddp_cpu", "trainer.devices=2")


def signalling(number, step, rank=0, again_after="null"):
    text = "{{_target_: support.faults.Signal, number: {}, step: {}, rank: {}, again_after: {}}}"
    return "+callbacks.signal=" + text.format(int(number), step, rank, again_after)


@pytest.mark.parametrize(
    "number", mostly_slow({s.name: s for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}, "SIGTERM")
)
def test_a_signal_saves_after_the_step_and_says_which_it_was(new_run, jobs, number):
    directory = new_run(number.name, *STEPS, signalling(number, 4), "trainer.accumulate_grad_batches=2")
    assert jobs.run(directory) == 128 + number
    assert checkpoint(directory)["global_step"] == 5
    log = (directory / "train.log").read_text()
    assert f"{number.name} " in log
    assert "stopped after step 5, saved; the same command goes on from there" in log
    assert "Traceback" not in (directory / "output.txt").read_text()


def test_stopping_and_going_on_is_exact(new_run, jobs):
    """Between two lines of the log, and in the middle of an epoch."""
    whole, parts = new_run("whole", *STEPS), new_run("parts", *STEPS, signalling(signal.SIGUSR1, 3))
    assert jobs.run(whole) == 0
    assert jobs.run(parts) == 138
    assert jobs.run(new_run("parts", *STEPS)) == 0
    assert_same_run(whole, parts)


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_after_the_same_step(new_run, jobs):
    directory = new_run("run", *STEPS, *TWO, signalling(signal.SIGTERM, 4, rank=1))
    assert jobs.run(directory, 2) == 143
    assert checkpoint(directory)["global_step"] == 5


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(new_run, jobs):
    """One within the first second counts as the same: a signal to a group reaches a process several times."""
    twice = new_run("twice", *STEPS, signalling(signal.SIGTERM, 4, again_after=0.1))
    assert jobs.run(twice) == 143
    assert checkpoint(twice)["global_step"] == 5
    late = new_run("late", *STEPS, signalling(signal.SIGTERM, 4, again_after=1.3))
    assert jobs.run(late) == -signal.SIGTERM
    assert not (late / "checkpoints" / "last.ckpt").exists()


@pytest.mark.slow
def test_a_step_that_takes_too_long_does_not_keep_the_process(new_run, jobs, monkeypatch):
    stuck = "+callbacks.stuck={_target_: support.faults.Stuck, step: 4, grace: 2}"
    directory = new_run("run", *STEPS, stuck, "callbacks.checkpoint.every_n_steps=2")
    jobs.start(directory)
    while not (directory / "stuck").exists():
        time.sleep(0.05)
    start = time.monotonic()
    jobs.signal(signal.SIGTERM)
    assert jobs.wait() == -signal.SIGALRM
    assert 1.5 < time.monotonic() - start < 8
    assert checkpoint(directory)["global_step"] == 4


@pytest.mark.slow
def test_readers_serve_the_step_that_is_under_way(new_run, jobs):
    """The signal goes to the whole group of processes, as the launcher and schedulers send it."""
    sleepy = "+callbacks.slow={_target_: support.faults.SlowDisk, seconds: 0.1}"
    directory = new_run("run", *STEPS, sleepy, "trainer.max_steps=500", "data.num_workers=2")
    jobs.start(directory)
    while "0/500" not in ((directory / "output.txt").read_text() if (directory / "output.txt").exists() else ""):
        time.sleep(0.05)
    time.sleep(0.5)
    jobs.signal(signal.SIGTERM)
    assert jobs.wait() == 143, (directory / "output.txt").read_text()
    assert 0 < checkpoint(directory)["global_step"] < 500
    deadline = time.monotonic() + 3
    while "inkwash" in (left := children(jobs.process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == ""


def children(pid):
    return subprocess.run(["ps", "--ppid", str(pid), "-o", "args="], capture_output=True, text=True).stdout


def test_without_a_checkpoint_callback_it_says_so(new_run, jobs):
    directory = new_run("run", *STEPS, signalling(signal.SIGTERM, 2), "~callbacks.checkpoint")
    assert jobs.run(directory) == 143
    assert "stopped after step 3, not saved, without callbacks.checkpoint" in (directory / "train.log").read_text()


# --- The whole job, as a user starts it -------------------------------------------------------------------------------


def command(tmp_path, *options):
    quick = ("debug=fast", "logger=csv", "trainer.precision=32-true", "model.channels=8", "data.batch_size=16")
    return subprocess.Popen(
        [sys.executable, "-m", "inkwash.train", *quick, "~callbacks.evaluation", *options, "run=job"],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path, job):
    deadline = time.monotonic() + 100
    while not path.exists():
        assert time.monotonic() < deadline
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_job_of_two_ranks_stops_and_goes_on(tmp_path, number):
    run = tmp_path / "runs" / "job"
    job = command(tmp_path, *TWO, "trainer.max_steps=99999", "callbacks.checkpoint.every_n_steps=50")
    wait_for(run / "checkpoints" / "last.ckpt", job)
    job.send_signal(number)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 128 + number, errors
    for noise in ("Traceback", "death signal", "deprecated"):
        assert noise not in errors, errors
    step = checkpoint(run)["global_step"]
    assert f"{number.name}      stopped after step {step}, saved" in errors
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    job = command(tmp_path, *TWO, f"trainer.max_steps={step + 4}")
    _, errors = job.communicate(timeout=100)
    assert job.returncode == 0, errors
    assert f"resuming     from step {step}" in errors


@pytest.mark.slow
def test_a_second_start_waits_for_the_first_and_then_refuses(tmp_path):
    run = tmp_path / "runs" / "job"
    first = command(tmp_path, "trainer=cpu", "trainer.max_steps=99999")
    wait_for(run / "checkpoints" / "last.ckpt", first)
    config = (run / "config.yaml").read_bytes()
    second = command(tmp_path, "trainer=cpu", "trainer.max_steps=5")
    _, errors = second.communicate(timeout=100)
    assert second.returncode == 1
    assert "waiting for another process that trains in runs/job" in errors
    assert "error: another process trains in runs/job: wait for its end, or choose another run=NAME" in errors
    assert (run / "config.yaml").read_bytes() == config
    third = command(tmp_path, "trainer=cpu", "trainer.max_steps=99999")
    time.sleep(5)
    first.send_signal(signal.SIGTERM)  # the third one's turn
    first.communicate(timeout=60)
    stopped = checkpoint(run)["global_step"]
    wait_for(run / "checkpoints" / f"step-{stopped + 2 - stopped % 2:08d}.ckpt", third)
    third.send_signal(signal.SIGTERM)
    _, errors = third.communicate(timeout=60)
    assert f"resuming     from step {stopped}" in errors


@pytest.mark.slow
def test_killing_the_launcher_stops_its_job(tmp_path):
    """The ranks save and end; the same command, at once, waits for that."""
    job = command(tmp_path, "trainer=cpu", "trainer.max_steps=99999")
    wait_for(tmp_path / "runs/job/checkpoints/last.ckpt", job)
    job.kill()
    again = command(tmp_path, "trainer=cpu", "trainer.max_steps=1")
    _, errors = again.communicate(timeout=100)
    assert again.returncode == 0, errors
    assert "nothing to do" in errors
    assert "stopped after step" in (tmp_path / "runs/job/train.log").read_text()
