"""Debian's SLURM, started for the test: jobs that are put back into the queue go on as if nothing had happened."""

import json
import subprocess
import sys

import pytest
import torch

from support.cluster import LONG, QUICK, environment, state, steps_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PACE = "+callbacks.pace={_target_: support.parts.Pace, seconds: 0.1}"


def wandb_ids(run):
    return [path.name.rpartition("-")[2] for path in (run / "wandb").glob("offline-run-*")]


def test_a_job_that_is_requeued_goes_on_exactly(slurm, checkout):
    """By an administrator (SIGTERM), and at the end of its time (SIGUSR1): the run of one that was left in peace."""
    options = (*QUICK, *LONG, "logger=wandb", PACE, "trainer.max_steps=240")
    job = slurm.sbatch("--ntasks-per-node=2", "train.sbatch", *options, cwd=checkout)
    run, log = checkout / "runs" / f"slurm-{job}", checkout / f"job-{job}.log"

    def reached(step):
        wait_until(lambda: steps_of(run)[-1:] >= [step], 200, lambda: log.read_text())

    reached(15)
    slurm("scontrol", "requeue", job)
    slurm.at_once(job)
    first = steps_of(run)[-1]
    reached(first + 15)
    slurm("scancel", "--signal=USR1", job)  # what --signal=USR1@120 does when two minutes are left
    slurm.at_once(job)
    wait_until(lambda: state(run) in ("finished", "failed"), 200, lambda: log.read_text())
    assert state(run) == "finished", log.read_text()
    text = (run / "train.log").read_text()  # srun stops listening before the ranks stop speaking
    assert text.count("resuming     from step") == 2
    assert "SIGTERM      stopped after step" in text
    assert "SIGUSR1      stopped after step" in text
    assert "Traceback" not in text + log.read_text()
    assert steps_of(run) == list(range(1, 241))
    assert [path.name for path in (checkout / "runs").iterdir() if path.name != "latest"] == [run.name]
    assert wandb_ids(run) == 3 * [json.loads((run / "run.json").read_text())["id"]]
    command = (sys.executable, "-m", "inkwash.train", "trainer=ddp_cpu", *options, "logger=csv", "run=peace")
    subprocess.run(command, cwd=checkout, env=environment(), check=True, timeout=300)
    states = [torch.load(d / "checkpoints" / "last.ckpt")["state_dict"] for d in (run, checkout / "runs" / "peace")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_steps_and_shells_of_a_job_know_which_ranks_they_have(slurm, checkout):
    """Two steps at once in one job, an allocation's shell, and a script that forgot srun."""
    python = f"{sys.executable} -m inkwash.train"
    quick = " ".join((*QUICK, *LONG, "trainer.max_steps=4"))
    script = f"""#!/bin/bash
        srun --overlap {python} {quick} &
        srun --overlap {python} {quick} run=named &
        wait
        {python} {quick} trainer.devices=2 run=plain"""
    (checkout / "steps.sh").write_text(script)
    job = slurm.sbatch("--wait", "--ntasks=2", "steps.sh", cwd=checkout)
    runs = {path.name: path for path in (checkout / "runs").iterdir() if path.name != "latest"}
    # The first step is not always the one that is listed first.
    (unnamed,) = runs.keys() - {"named", "plain"}
    assert unnamed in (f"slurm-{job}", f"slurm-{job}-1")
    for run in runs.values():
        assert json.loads((run / "summary.json").read_text())["world_size"] == 2
    shell = f"{python} {quick} trainer.devices=2 run=shell && srun -n1 {python} {quick} trainer.devices=2 run=one-task"
    slurm("salloc", "--ntasks=2", "bash", "-c", shell, cwd=checkout)
    for name in ("shell", "one-task"):
        assert json.loads((checkout / "runs" / name / "summary.json").read_text())["world_size"] == 2
    wrong = slurm.sbatch("--wait", "--ntasks=2", f"--wrap=srun {python} {quick} trainer.devices=1; true", cwd=checkout)
    assert "trainer.devices=1, but srun started 2 processes" in (checkout / f"job-{wrong}.log").read_text()


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_sweep_through_submitit_survives_preemption(slurm, checkout, tasks):
    """Two jobs; each starts two ranks, or is started as two. One is preempted (SIGUSR2) and goes on."""
    options = (
        *QUICK, *LONG, PACE, "trainer.max_steps=150", f"trainer.devices={2}", "launcher=slurm", "sweep=found",
        "seed=0,1", f"hydra.launcher.tasks_per_node={tasks}", f"hydra.launcher.cpus_per_task={2 // tasks}",
        "hydra.launcher.gpus_per_node=null",
    )  # fmt: skip
    sweep = subprocess.Popen(
        [sys.executable, "-m", "inkwash.train", "--multirun", *options], cwd=checkout, text=True,
        env={**environment(), **slurm.variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    folder = checkout / "runs" / "found"
    try:
        runs = wait_until(lambda: (found := [p.parent for p in folder.glob("*/run.json")])[1:] and found, 120)
        wait_until(lambda: all(steps_of(run)[-1:] >= [15] for run in runs), 200)
        victim = slurm("squeue", "-h", "-o", "%A").split()[0]
        slurm("scancel", "--signal=USR2", victim)
        slurm.at_once(victim)
        output = sweep.communicate(timeout=400)[0]
    finally:
        sweep.kill()
    assert sweep.returncode == 0, output
    for run in runs:
        assert state(run) == "finished"
        assert steps_of(run) == list(range(1, 151))
    assert sum("resuming" in (run / "train.log").read_text() for run in runs) == 1
    assert sum("SIGUSR2" in (run / "train.log").read_text() for run in runs) == 1
