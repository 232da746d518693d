"""Which rank a process is, from the environments that torchrun and SLURM 22.05 really make."""

import pytest

from inkwash.errors import UserError
from inkwash.launch.environment import RankEnv, binds_tasks, check_rank_env, first_host, slurm_run_name

BATCH = {
    "ENVIRONMENT": "BATCH", "SLURM_JOB_ID": "71", "SLURM_JOB_NUM_NODES": "2", "SLURM_LOCALID": "0", "SLURM_NNODES": "2",
    "SLURM_NODEID": "0", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "0",
    "SLURM_JOB_NODELIST": "node[03-04]", "SLURM_TASKS_PER_NODE": "2(x2)",
}  # fmt: skip
# The shell of an salloc: not yet on a node of the job.
SHELL = {"SLURM_JOB_ID": "72", "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


def step(rank, step="0", tasks=4, nodes=2, **more):
    local = tasks // nodes
    return {
        **BATCH, "SLURM_STEP_ID": step, "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_NODELIST": "node[03-04]", "SLURM_STEP_TASKS_PER_NODE": f"{local}(x{nodes})",
        "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % local), "SLURM_NODEID": str(rank // local), **more,
    }  # fmt: skip


@pytest.mark.parametrize("environment", [{}, BATCH, SHELL, step(0, tasks=1, nodes=1)])
def test_without_a_launcher_the_command_starts_its_ranks(environment):
    """A script's batch step is one process, whatever --ntasks says."""
    assert RankEnv.given(environment) is None


def test_torchrun_and_srun_say_the_same():
    places = [RankEnv.given(environment) for environment in (TORCHRUN, step(3))]
    same = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    assert [[place.variables()[name] for name in same] for place in places] == 2 * [["3", "1", "1", "4", "2"]]
    assert places[0].variables() == {name: value for name, value in TORCHRUN.items() if name != "TORCHELASTIC_RUN_ID"}
    assert [place.num_nodes for place in places] == [2, 2]
    assert places[1].main_address == "node03"


def test_torchrun_within_slurm_is_torchrun():
    assert RankEnv.given({**step(0), **TORCHRUN}).launcher == "torchrun"


def test_ranks_of_a_step_share_a_port_and_steps_do_not():
    ports = {s: {RankEnv.given(step(rank, s)).main_port for rank in range(4)} for s in ("0", "1")}
    assert all(len(found) == 1 for found in ports.values())
    assert ports["0"] != ports["1"]
    assert 20_000 <= min(ports["0"]) < 30_000
    assert RankEnv.given(step(1, MASTER_PORT="1234", MASTER_ADDR="there")).main_port == 1234


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("vm", "vm"), ("node03,node07", "node03"), ("node[03-05,09],x1", "node03"), ("gpu-a[1,4]", "gpu-a1")],
)
def test_first_host_of_a_compressed_list(nodes, host):
    assert first_host(nodes) == host


def test_a_step_has_a_name_that_outlives_the_queue():
    assert slurm_run_name(step(0)) == slurm_run_name(step(3, SLURM_RESTART_COUNT="2")) == "slurm-71"
    assert slurm_run_name(step(0, "1")) == "slurm-71-1"
    assert slurm_run_name(step(0, SLURM_ARRAY_JOB_ID="70", SLURM_ARRAY_TASK_ID="5")) == "slurm-70_5"
    assert slurm_run_name(BATCH) is None
    assert slurm_run_name({}) is None


@pytest.mark.parametrize(
    ("environment", "trainer", "sentence"),
    [
        ({}, {"num_nodes": 2, "devices": "auto"}, "num_nodes=2 needs the same command on every node"),
        (step(0), {"num_nodes": 1, "devices": "auto"}, "num_nodes=1, but srun started processes on 2: .*num_nodes=2"),
        (TORCHRUN, {"num_nodes": 2, "devices": 4}, "devices=4, but torchrun started 2 .* pass trainer.devices=2"),
    ],
)
def test_the_configuration_must_say_how_many_there_are(environment, trainer, sentence):
    with pytest.raises(UserError, match=sentence):
        check_rank_env(RankEnv.given(environment), trainer)


def test_what_was_started_fits():
    for environment, nodes in (({}, 1), (step(2), 2), (TORCHRUN, 2)):
        for devices in (2, "auto"):
            check_rank_env(RankEnv.given(environment), {"num_nodes": nodes, "devices": devices})


def test_tasks_that_are_spread_unevenly_are_refused():
    with pytest.raises(UserError, match="--ntasks-per-node"):
        RankEnv.given(step(2, SLURM_NODEID="0", SLURM_LOCALID="1"))
    with pytest.raises(UserError, match=r"as 2,1: ask"):
        RankEnv.given(step(0, tasks=3, nodes=2, SLURM_STEP_TASKS_PER_NODE="2,1"))


@pytest.mark.parametrize(
    ("changes", "cores", "bound"),
    [
        ({}, 8, True),
        ({}, 32, False),  # --cpu-bind=none: each task sees all cores of the step
        ({"SLURM_STEP_NUM_TASKS": "1"}, 8, False),
        ({"TORCHELASTIC_RUN_ID": "x"}, 8, False),  # one task, whose ranks torchrun starts
        ({"SLURM_CPUS_ON_NODE": "8"}, 8, False),
    ],
)
def test_srun_binds_tasks_to_cores_of_their_own(changes, cores, bound):
    assert binds_tasks(cores, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_CPUS_ON_NODE": "32", **changes}) is bound


def test_without_srun_nothing_is_bound():
    assert not binds_tasks(8, {})
