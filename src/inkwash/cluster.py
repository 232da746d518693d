"""Which rank of a job this process is, when torchrun or srun has started several of them. No torch.

A process that nobody counted starts the ranks of its job itself (launch.py). Whoever starts them, ranks find their
place in torchrun's variables: RANK, LOCAL_RANK, GROUP_RANK (of the node), WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. Those that srun gives are translated into them here, and nothing else looks at SLURM's.
"""

import os
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from inkwash.errors import UserError


class Place(NamedTuple):
    """One of the ranks that `launcher`, torchrun or srun, has started.

    Attributes:
        job: a name for what was launched, the same after a requeue; None where the launcher gives none.
    """

    launcher: str
    rank: int
    local_rank: int
    node: int
    world_size: int
    local_world_size: int
    main_address: str
    main_port: int
    job: str | None = None

    @property
    def num_nodes(self) -> int:
        return self.world_size // self.local_world_size

    def variables(self) -> dict[str, str]:
        """torchrun's environment variables for this rank."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "GROUP_RANK": str(self.node),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.main_address,
            "MASTER_PORT": str(self.main_port),
        }


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place, or None for one that starts its ranks itself.

    Raises:
        UserError: srun has laid its tasks out in another way than node by node, as many on each.
    """
    if "TORCHELASTIC_RUN_ID" in environment and "RANK" in environment:
        return Place(
            "torchrun",
            rank=int(environment["RANK"]),
            local_rank=int(environment["LOCAL_RANK"]),
            node=int(environment["GROUP_RANK"]),
            world_size=int(environment["WORLD_SIZE"]),
            local_world_size=int(environment["LOCAL_WORLD_SIZE"]),
            main_address=environment["MASTER_ADDR"],
            main_port=int(environment["MASTER_PORT"]),
        )
    # Only srun sets this: the script of an sbatch, or the shell of an salloc, is one process whatever --ntasks says.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return _place_in_step(environment)
    return None


def job_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """slurm-JOB for a step that srun has started, with the step's number from the second on; the same after a requeue.

    None elsewhere: a script that trains several times without srun would give all its runs the same name.
    """
    if "SLURM_STEP_ID" not in environment:
        return None
    job, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    name = f"{job}_{task}" if job and task else environment["SLURM_JOB_ID"]
    step = environment["SLURM_STEP_ID"]
    return f"slurm-{name}" if step == "0" else f"slurm-{name}-{step}"


def check_place(place: Place | None, trainer: Mapping[str, Any]) -> None:
    """Raise UserError unless as many processes were started as the configuration says."""
    nodes, devices = trainer.get("num_nodes"), trainer["devices"]
    if place is None or nodes is None:
        if nodes is not None and nodes > 1:
            raise UserError(
                f"trainer.num_nodes={nodes} needs the same command on every node: start it there with torchrun or srun "
                "(README, From laptop to cluster)"
            )
        return
    if nodes != place.num_nodes:
        raise UserError(
            f"trainer.num_nodes={nodes}, but {place.launcher} started processes on {place.num_nodes}: "
            f"pass trainer=multi_node trainer.num_nodes={place.num_nodes}"
        )
    if devices not in ("auto", place.local_world_size):
        raise UserError(
            f"trainer.devices={devices}, but {place.launcher} started {place.local_world_size} processes on each node: "
            f"pass trainer.devices={place.local_world_size}"
        )


def _place_in_step(environment: Mapping[str, str]) -> Place:
    rank, local_rank, node = (int(environment[f"SLURM_{name}"]) for name in ("PROCID", "LOCALID", "NODEID"))
    nodes, world = (int(environment[f"SLURM_STEP_NUM_{name}"]) for name in ("NODES", "TASKS"))
    local = world // nodes
    if world % nodes or rank != node * local + local_rank:
        raise UserError(
            f"srun has spread {world} tasks over {nodes} nodes as {environment.get('SLURM_STEP_TASKS_PER_NODE')}: "
            "ask for the same number on each with --ntasks-per-node, and for --distribution=block"
        )
    # Two steps of a job may run at once on the same nodes; ports up to 30,000 are not given out at random.
    key = "-".join(environment.get(f"SLURM_{name}", "") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))
    port = environment.get("MASTER_PORT", 20_000 + zlib.crc32(key.encode()) % 10_000)
    # A machine's own name may not resolve on it.
    first = "127.0.0.1" if nodes == 1 else first_host(environment["SLURM_STEP_NODELIST"])
    address = environment.get("MASTER_ADDR", first)
    return Place("srun", rank, local_rank, node, world, local, address, int(port), job_name(environment))


def first_host(nodes: str) -> str:
    """The first of SLURM's compressed list: node03 of node[03-05,09],login1."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)
