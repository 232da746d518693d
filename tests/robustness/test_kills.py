"""SIGKILL at any moment costs the steps since the last checkpoint, and nothing else."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from inkwash.runs.checkpoint_files import damage
from inkwash.runs.directory import RunDirectory
from support.counts import count
from support.run_diff import assert_same_run, checkpoint
from support.runs import environment

STEPS = ("callbacks.checkpoint.every_n_steps=2", "callbacks.samples.every_n_steps=6", "callbacks.log.every_n_steps=3")


def whole(new_run, jobs, *options):
    directory = new_run("whole", *STEPS, *options)
    assert jobs.run(directory) == 0, (directory / "output.txt").read_text()
    return directory


# --- At every moment of a checkpoint's writing ------------------------------------------------------------------------

# What is left to go on from after a death at step 6 with checkpoints every 2 steps.
MOMENTS = {"half": 4, "written": 4, "synced": 4, "renamed": 6, "linked": 6}


@pytest.mark.parametrize("moments", [["half"], pytest.param(MOMENTS, marks=pytest.mark.slow)], ids=len)
def test_kill_while_a_checkpoint_is_written(new_run, jobs, moments):
    options = ("trainer.max_steps=8",)
    undisturbed = whole(new_run, jobs, *options)
    for moment in moments:
        step = MOMENTS[moment]
        death = f"+callbacks.death={{_target_: support.faults.DeathAt, moment: {moment}, step: 6}}"
        directory = new_run(moment, *STEPS, *options, death)
        assert jobs.run(directory) == -signal.SIGKILL
        newest = RunDirectory(directory).checkpoints.newest_first()[0]
        assert damage(newest) is None
        assert checkpoint(directory, newest.name)["global_step"] == step
        partial = bool(list((directory / "checkpoints").glob("*.partial")))
        assert partial == (moment in ("half", "written", "synced"))
        directory = new_run(moment, *STEPS, *options)
        assert jobs.run(directory) == 0
        assert f"resuming     from step {step}" in (directory / "train.log").read_text()
        assert_same_run(undisturbed, directory)
        names = sorted(path.name for path in (directory / "checkpoints").iterdir())
        assert names == ["best.ckpt", "last.ckpt", "step-00000006.ckpt", "step-00000008.ckpt"]


# --- At any moment at all ---------------------------------------------------------------------------------------------


def survived(directory):
    """Count a kill; returns the step that is left to go on from."""
    found = RunDirectory(directory).checkpoints.newest_first()
    folder = directory / "checkpoints"
    last = folder / "last.ckpt"
    count("kills survived")
    # Between the renaming of a file and its becoming last.ckpt is within the writing, too.
    if list(folder.glob("*.partial")) or (found and not (last.exists() and last.samefile(found[0]))):
        count("kills survived, within the writing of a checkpoint")
    return checkpoint(directory, found[0].name)["global_step"] if found else 0


def storm(new_run, jobs, kills, seconds, longest, processes=1, *options):
    """Kill a job again and again, at moments of its training, a checkpoint's writing included, then let it finish."""
    slow = f"+callbacks.slow={{_target_: support.faults.SlowDisk, seconds: {seconds}}}"
    moments, done, lives = random.Random(0), 0, []
    while done < kills:
        directory = new_run("killed", *STEPS, *options, slow)
        log = directory / "train.log"
        before = log.read_text().count("batch ") if log.exists() else 0
        jobs.start(directory, processes)
        while not log.exists() or log.read_text().count("batch ") == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, longest))
        assert jobs.kill(), "the run is over: give it more steps"
        done += 1
        lives.append(survived(directory))
    directory = new_run("killed", *STEPS, *options)
    assert jobs.run(directory, processes) == 0, (directory / "output.txt").read_text()
    return directory, lives


@pytest.mark.slow
def test_three_kills_at_random_moments(new_run, jobs):
    options = ("trainer.max_steps=40",)
    directory, lives = storm(new_run, jobs, 3, 0.03, 1.5, 1, *options)
    assert_same_run(whole(new_run, jobs, *options), directory)
    assert lives == sorted(lives)
    assert lives[-1] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("processes", [1, 2])
def test_fifty_kills_at_random_moments(new_run, jobs, processes):
    steps = 300 * processes  # far more than the lives make, for SlowDisk lets none be quick
    options = (f"trainer.max_steps={steps}", "trainer=ddp_cpu", f"trainer.devices={processes}", "data.num_workers=1")
    options = (*options, f"learning_rate.total_steps={steps}", "model.dropout=0.1")
    directory, lives = storm(new_run, jobs, 50, 0.02, 1.2 * processes, processes, *options)
    undisturbed = new_run("whole", *STEPS, *options)
    assert jobs.run(undisturbed, processes) == 0
    assert_same_run(undisturbed, directory)
    assert lives == sorted(lives)
    print(f"steps after each of {len(lives)} kills: {lives}")


# --- The whole job, as a user starts it -------------------------------------------------------------------------------


def processes_of(directory):
    lines = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True).stdout.splitlines()
    found = [line.split(None, 1) for line in lines]
    return [int(pid) for pid, text in found if "inkwash." in text and str(directory) in text]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_fifty_kills_of_the_command_and_all_its_processes(tmp_path):
    """launcher, agent, ranks and readers at once, at any moment from the start of the job, metrics and all."""
    kills, moments = int(os.environ.get("INKWASH_KILLS", "50")), random.Random(1)
    options = (
        "debug=fast", "logger=csv", "trainer=cpu", "trainer.precision=32-true", "model.channels=8",
        "data.batch_size=16", "callbacks.checkpoint.every_n_steps=4", "trainer.max_steps=400",
        "callbacks.samples.every_n_steps=10", "callbacks.evaluation.every_n_steps=20",
        "trainer.memory_format=contiguous",  # which each of the two runs would choose for itself
    )  # fmt: skip

    def start(name, *more):
        command = [sys.executable, "-m", "inkwash.train", *options, f"run={name}", *more]
        return subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    slow = "+callbacks.slow={_target_: support.faults.SlowDisk, seconds: 0.02}"
    lives = []
    for _ in range(kills):
        job = start("killed", slow)
        log, size = tmp_path / "runs/killed/train.log", 0
        size = log.stat().st_size if log.exists() else 0
        if moments.random() < 0.9:  # else wherever it is by then: importing, composing
            while not log.exists() or log.stat().st_size == size:
                time.sleep(0.02)
        time.sleep(moments.uniform(0, 1.5))
        assert job.poll() is None, "the run is over: give it more steps"
        for pid in (job.pid, *processes_of("runs/killed")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        job.wait()
        while processes_of("runs/killed"):
            time.sleep(0.05)
        lives.append(survived(tmp_path / "runs/killed"))
    assert start("killed").wait() == 0
    assert_same_run(tmp_path / "runs/whole", tmp_path / "runs/killed")
    print(f"steps after each of {kills} kills: {lives}")
