"""Names of run directories in SLURM."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from inkwash.commands.preparation import named_directory
from inkwash.launch.environment import RankEnv

UNNAMED = OmegaConf.create({"run": None})


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """slurm(NAME=value): this is the only task of step 0 of job 7."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLURM_RESTART_COUNT", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)

    def set_more(**more):
        for name, value in {"STEP_ID": "0", "JOB_ID": "7", "STEP_NUM_TASKS": "1", **more}.items():
            monkeypatch.setenv(f"SLURM_{name}", value)

    set_more()
    return set_more


def name(env=None):
    run = named_directory(UNNAMED, env)
    return None if run is None else str(run)


def test_in_an_interactive_step_only_the_first_run_has_the_steps_name(slurm):
    """`srun --pty bash`: the second training is another one, as it is in any shell."""
    assert name() == "runs/slurm-7"
    Path("runs/slurm-7").mkdir(parents=True)
    assert name() is None  # a name is made up
    assert str(named_directory(OmegaConf.create({"run": "slurm-7"}), None)) == "runs/slurm-7"


def test_a_requeued_step_finds_its_run(slurm):
    Path("runs/slurm-7").mkdir(parents=True)
    slurm(RESTART_COUNT="1")
    assert name() == "runs/slurm-7"


def test_the_tasks_of_a_step_share_a_name(slurm):
    """Rank 0 may have made the directory before another task looks."""
    slurm(STEP_NUM_TASKS="2")
    Path("runs/slurm-7").mkdir(parents=True)
    assert name(RankEnv(world_size=2, launcher="srun", job="slurm-7")) == "runs/slurm-7"


def test_the_shell_of_an_salloc_is_no_step_of_srun(slurm):
    """SLURM numbers its own steps downwards from 2**32; LaunchParameters=use_interactive_step makes one of them."""
    slurm(STEP_ID="4294967290")
    assert name() is None
