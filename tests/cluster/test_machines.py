"""Several machines, which are network namespaces of this one, each with torchrun, over gloo."""

import json
import subprocess
import sys
import time

import pytest
import torch

from support.cluster import LONG, QUICK, environment, state, steps_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def join(machines, rank, *overrides, cwd):
    """The command of the README on one of the machines, with one process on each."""
    return machines[rank].start(
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(machines)}", "--nproc-per-node=1",
        f"--node-rank={rank}", f"--master-addr={machines[0].address}", "--master-port=29555",
        "-m", "inkwash.train", "trainer=multi_node", *QUICK, *overrides, cwd=cwd,
    )  # fmt: skip


def torchrun(machines, *overrides, cwd):
    """The same command on each of them."""
    return [join(machines, rank, *overrides, cwd=cwd) for rank in range(len(machines))]


def rows(run):
    lines = (run / "metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    timed = ("train/images_per_second", "train/images_per_second_per_rank", "train/communication", "metrics/seconds")
    return [
        {name: float(v) for name, v in zip(names, line.split(","), strict=True) if v and name not in timed}
        for line in lines[1:]
    ]


def test_two_machines_are_two_processes(machines, tmp_path):
    """They train and measure what two processes of one machine do."""
    jobs = torchrun(machines, "run=two", cwd=tmp_path)
    outputs = [job.communicate(timeout=400)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    command = (sys.executable, "-m", "inkwash.train", "trainer=ddp_cpu", *QUICK, "run=one")
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True, timeout=300)
    one, two = (tmp_path / "runs" / name for name in ("one", "two"))
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, two)]
    assert [summary["world_size"] for summary in summaries] == [2, 2]
    assert "metrics/fd_classifier_8" in rows(two)[-1]
    assert [row.keys() for row in rows(one)] == [row.keys() for row in rows(two)]
    for a, b in zip(rows(one), rows(two), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    states = [torch.load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (one, two)]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-6)
    assert "2 x cpu" in outputs[0]
    # Only the first process speaks.
    assert "images/s" not in outputs[1]


@pytest.mark.parametrize("how", ["kill", "unplug"])
def test_a_machine_that_is_gone_ends_the_job_within_a_minute(machines, tmp_path, how):
    """Killed processes close their connections; a machine without power or network says nothing at all."""
    jobs = torchrun(machines, *LONG, "trainer.max_steps=999999", "run=lost", cwd=tmp_path)
    run = tmp_path / "runs" / "lost"
    wait_until(lambda: steps_of(run)[-1:] > [20], 200)
    start = time.monotonic()
    getattr(machines[1], how)()
    output = jobs[0].communicate(timeout=90)[0]
    assert jobs[0].returncode == 1
    assert time.monotonic() - start < 60
    assert "error: another process of the job is gone" in output
    assert "the same command goes on from the last checkpoint" in output
    assert ("no sign of life" in output) == (how == "unplug")
    assert state(run) == "failed"
    jobs[1].communicate(timeout=60)
    assert jobs[1].returncode != 0
    assert machines[0].pids() == machines[1].pids() == []


def test_machines_that_cannot_work_together_say_why(machines, tmp_path):
    """The second one was given another command, or has other disks."""
    jobs = [join(machines, rank, "run=told", f"seed={rank}", cwd=tmp_path) for rank in (0, 1)]
    outputs = [job.communicate(timeout=200)[0] for job in jobs]
    assert 0 not in [job.returncode for job in jobs]
    assert "error: rank 1 was started with `" in outputs[1]
    assert "give all the same command" in outputs[1]
    disks = [tmp_path / "disk0", tmp_path / "disk1"]
    for disk in disks:
        disk.mkdir()
    jobs = [join(machines, rank, "run=apart", *LONG, "trainer.max_steps=99999", cwd=disks[rank]) for rank in (0, 1)]
    outputs = [job.communicate(timeout=200)[0] for job in jobs]
    assert 0 not in [job.returncode for job in jobs]
    assert "run directories must lie on a disk that all nodes share" in outputs[1]
