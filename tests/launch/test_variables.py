"""Ranks that Kubeflow, AzureML, SageMaker, mpirun or a person has started."""

import pytest

from inkwash.errors import UserError
from inkwash.launch.environment import RankEnv, check_rank_env
from inkwash.launch.variables import numbers

FOUR = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29511"}
# One process in each pod, without LOCAL_RANK (kubeflow#1790).
KUBEFLOW = {**FOUR, "KUBERNETES_PORT": "tcp://10.0.0.1:443", "PYTHONUNBUFFERED": "0"}
AZUREML = {**FOUR, "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "NODE_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
OPENMPI = {
    "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "prterun-1",
}  # fmt: skip


def place(environment):
    env = RankEnv.given(environment)
    return None if env is None else (env.rank, env.local_rank, env.node, env.world_size, env.local_world_size)


@pytest.mark.parametrize(
    "environment",
    [
        {}, {"WORLD_SIZE": "1"}, {"RANK": "0", "WORLD_SIZE": "1"}, {"LOCAL_RANK": "0"}, {"RANK": ""},
        {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}, {**FOUR, "RANK": "0", "WORLD_SIZE": "1"},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, {"PMI_SIZE": "1", "PMI_RANK": "0"},
        {"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"}, {"SM_HOSTS": "algo"},
    ],
)  # fmt: skip
def test_a_single_process_starts_its_ranks_itself(environment):
    assert RankEnv.given(environment) is None


def test_the_four_variables_are_ranks():
    """pytorch-lightning#7003: each process trained alone, half of the work and all of the files."""
    env = RankEnv.given({**FOUR, "LOCAL_RANK": "0"})
    assert env is not None
    assert (env.rank, env.world_size, env.main_address, env.main_port) == (1, 2, "10.0.0.1", 29511)
    assert env.local_world_size == 0  # the ranks tell each other
    assert place(KUBEFLOW) == (1, 0, 1, 2, 1)
    assert place(AZUREML) == (5, 1, 1, 8, 4)


def test_processes_of_mpirun_are_ranks():
    with pytest.raises(UserError, match=r"mpirun has started 4 processes .* set MASTER_ADDR, .* and MASTER_PORT"):
        RankEnv.given(OPENMPI)
    assert place({**OPENMPI, "MASTER_ADDR": "node1"}) == (3, 1, 1, 4, 2)
    alone = {**OPENMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    ranks = [RankEnv.given({**alone, **dict.fromkeys(names, rank)}) for rank in "03"]
    assert {(env.main_address, env.main_port, env.num_nodes) for env in ranks if env} == {
        ("127.0.0.1", ranks[0].main_port, 1)
    }
    assert numbers({"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2", **FOUR}).rank == 1


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RANK": "1"}, "RANK=1 is in the environment, but not WORLD_SIZE and MASTER_ADDR and MASTER_PORT: set all"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is in the environment, but not RANK and MASTER_ADDR"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1 is in the environment, but not RANK"),
        ({**FOUR, "MASTER_PORT": ""}, "RANK=1 is in the environment, but not MASTER_PORT"),
        ({**FOUR, "RANK": "2"}, "RANK=2, LOCAL_RANK=0 and WORLD_SIZE=2 in the environment contradict each other"),
        ({**FOUR, "RANK": "0", "LOCAL_RANK": "1"}, "contradict each other"),
        ({**FOUR, "RANK": "one"}, "RANK=one in the environment must be a number"),
        ({**FOUR, "MASTER_PORT": "tcp://x"}, "MASTER_PORT=tcp://x in the environment must be a number"),
        (
            {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-2"},
            "SageMaker starts this command on 2 machines .*torch_distributed",
        ),
    ],
)
def test_what_is_half_there_is_one_sentence(environment, sentence):
    with pytest.raises(UserError, match=sentence):
        RankEnv.given(environment)


def test_the_configuration_may_leave_the_number_of_machines_to_the_launcher():
    unknown = RankEnv.given({**FOUR, "LOCAL_RANK": "0"})
    for trainer in ({"num_nodes": "auto", "devices": 1}, {"num_nodes": 2, "devices": 1}):
        check_rank_env(unknown, trainer)
        check_rank_env(RankEnv.given(KUBEFLOW), trainer)
    with pytest.raises(UserError, match=r"num_nodes=1 with trainer.devices=1 each, but .* there are 2 processes"):
        check_rank_env(unknown, {"num_nodes": 1, "devices": 1})
    with pytest.raises(UserError, match=r"devices=4, but .* started 1 processes on each node"):
        check_rank_env(RankEnv.given(KUBEFLOW), {"num_nodes": "auto", "devices": 4})
