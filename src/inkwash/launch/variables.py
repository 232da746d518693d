"""Environment variables of ranks that something other than torchrun and srun has started. Without torch.

Kubeflow, AzureML and people set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; mpirun and jsrun number their processes
by variables of their own. Taken for one process each, they would train as many runs as there are processes.
"""

import json
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from inkwash.errors import UserError

FOUR = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "NPROC_PER_NODE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")


class Mpi(NamedTuple):
    """The variables of a launcher: number of processes, rank, rank and number on this machine, and of the job."""

    name: str
    size: str
    rank: str
    local_rank: str
    local_size: str
    job: str


MPI = (
    Mpi("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE", "PMIX_NAMESPACE"),
    Mpi("mpirun", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_RANK",
        "MV2_COMM_WORLD_LOCAL_SIZE", "MV2_JOB_ID"),
    Mpi("mpirun", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "PMI_ID"),
    Mpi("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_SIZE",
        "LSB_JOBID"),
)  # fmt: skip


class Numbers(NamedTuple):
    """What the variables say of a rank; local_world_size and node are None if they do not say it."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int | None
    node: int | None
    main_address: str
    main_port: int
    launcher: str


def numbers(environment: Mapping[str, str]) -> Numbers | None:
    """Read the variables of a rank; None if this process is alone.

    Raises:
        UserError: some of the variables are there and others are missing, or they contradict each other.
    """
    found = _of_four(environment) or _of_mpi(environment)
    if found is None:
        _refuse_sagemaker(environment)
        return None
    if not 0 <= found.rank < found.world_size or not 0 <= found.local_rank <= found.rank:
        raise UserError(
            f"RANK={found.rank}, LOCAL_RANK={found.local_rank} and WORLD_SIZE={found.world_size} in the environment "
            "contradict each other: ranks count from 0, over all machines and on each"
        )
    return found


def _of_four(environment: Mapping[str, str]) -> Numbers | None:
    """Read RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; LOCAL_RANK is 0 if it is missing, as in Kubeflow's pods."""
    rank, world, local = (_number(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if not rank and not local and world in (None, 1):  # MASTER_ADDR alone says nothing, nor does a single process
        return None
    if missing := [name for name in FOUR if not environment.get(name)]:
        given = next(name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if environment.get(name))
        raise UserError(
            f"{given}={environment[given]} is in the environment, but not {' and '.join(missing)}: set all of "
            f"{', '.join(FOUR)} for each process of the job, or unset {given} to train in this one"
        )
    sizes = [size for name in LOCAL_SIZES if (size := _number(environment, name))]
    node = next((n for name in ("GROUP_RANK", "NODE_RANK") if (n := _number(environment, name)) is not None), None)
    per_node = sizes[0] if sizes else 1 if local is None else None
    port, address = _number(environment, "MASTER_PORT") or 0, environment["MASTER_ADDR"]
    name = "the environment (RANK, WORLD_SIZE)"
    return Numbers(rank or 0, world or 1, local or 0, per_node, node, address, port, name)


def _of_mpi(environment: Mapping[str, str]) -> Numbers | None:
    """Read the variables of mpirun or jsrun; processes on one machine need no MASTER_ADDR."""
    for of in MPI:
        world = _number(environment, of.size) or 1
        if world == 1:
            continue
        rank, local = (_number(environment, name) for name in (of.rank, of.local_rank))
        per_node = _number(environment, of.local_size)
        key = environment.get(of.job, "")
        port = _number(environment, "MASTER_PORT") or (20_000 + zlib.crc32(key.encode()) % 10_000 if key else None)
        address = environment.get("MASTER_ADDR") or ("127.0.0.1" if per_node == world else None)
        if rank is None or local is None or port is None or address is None:
            raise UserError(
                f"{of.name} has started {world} processes ({of.size}), which do not know where the first one is: set "
                "MASTER_ADDR, its machine, and MASTER_PORT, a free port there, for all of them"
            )
        return Numbers(rank, world, local, per_node, None, address, port, of.name)
    return None


def _refuse_sagemaker(environment: Mapping[str, str]) -> None:
    """Raise UserError on one of several machines of SageMaker, each of which starts the command alone."""
    try:
        hosts = json.loads(environment.get("SM_HOSTS", "[]"))
    except ValueError:
        return
    if isinstance(hosts, list) and len(hosts) > 1 and environment.get("SM_CURRENT_HOST"):
        raise UserError(
            f"SageMaker starts this command on {len(hosts)} machines (SM_HOSTS), each of which would train alone: pass "
            "distribution={'torch_distributed': {'enabled': True}} to its estimator, which starts torchrun"
        )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """Return a variable as a number, None if it is missing or empty. Raises UserError if it is something else."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        raise UserError(f"{name}={text} in the environment must be a number: set it right, or unset it")
    return int(text)
