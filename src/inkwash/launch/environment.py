"""Read the rank of this process and the number of ranks from environment variables. Without torch.

Ranks read torchrun's variables: RANK, LOCAL_RANK, GROUP_RANK (the node), WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. Those of srun are translated into them here; no other module reads SLURM's. variables.py reads those that
other launchers, and people, set. A command that none of them has started starts its ranks itself (start.py).
"""

import os
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from inkwash.errors import UserError
from inkwash.launch.variables import numbers

# Higher numbers are of SLURM's own steps: the batch script, the shell of an salloc.
LAST_STEP = 0xFFFFFFF0


class RankEnv(NamedTuple):
    """One rank of a job.

    Attributes:
        rank, world_size: among all processes; local_rank, local_world_size: among those of this node. A
            local_world_size of 0 is not known yet: the ranks tell each other when they meet (heartbeat.py).
        node: which node, from 0.
        main_address, main_port: where rank 0 listens.
        launcher: what has started this process: torchrun, srun, mpirun; "" if the command did.
        job: a name for what was launched, the same after a requeue; None if the launcher gives none.
    """

    rank: int = 0
    local_rank: int = 0
    node: int = 0
    world_size: int = 1
    local_world_size: int = 1
    main_address: str = "127.0.0.1"
    main_port: int = 0
    launcher: str = ""
    job: str | None = None

    @classmethod
    def current(cls, environment: Mapping[str, str] = os.environ) -> "RankEnv":
        """Read torchrun's variables; without them this is the only rank."""
        local = int(environment.get("LOCAL_WORLD_SIZE", 1))
        return cls(
            rank=int(environment.get("RANK", 0)),
            local_rank=int(environment.get("LOCAL_RANK", 0)),
            node=int(environment.get("GROUP_RANK", 0)),
            world_size=int(environment.get("WORLD_SIZE", local)),
            local_world_size=local,
            main_address=environment.get("MASTER_ADDR", "127.0.0.1"),
            main_port=int(environment.get("MASTER_PORT", 0)),
        )

    @classmethod
    def given(cls, environment: Mapping[str, str] = os.environ) -> "RankEnv | None":
        """Read what a launcher has set for this command; None if the command starts its ranks itself.

        Raises:
            UserError: srun has not placed its tasks node by node with as many on each, or variables are missing.
        """
        if "TORCHELASTIC_RUN_ID" in environment and "RANK" in environment:
            return cls.current(environment)._replace(launcher="torchrun")
        # Only srun sets this: an sbatch script or the shell of an salloc is one process whatever --ntasks says.
        if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            return _of_slurm_step(environment)
        if (found := numbers(environment)) is None:
            return None
        local = found.local_world_size or 0
        node = found.node if found.node is not None else (found.rank - found.local_rank) // local if local else 0
        return cls(
            found.rank, found.local_rank, node, found.world_size, local, found.main_address, found.main_port,
            found.launcher,
        )  # fmt: skip

    @property
    def num_nodes(self) -> int:
        return self.world_size // max(self.local_world_size, 1)

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


def slurm_run_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """slurm-JOB for a step that srun has started, with the step's number from the second on; the same after a requeue.

    None elsewhere: a script that trains several times without srun would give all its runs the same name.
    """
    step = environment.get("SLURM_STEP_ID")
    if step is None or int(step) > LAST_STEP:
        return None
    job, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    name = f"{job}_{task}" if job and task else environment["SLURM_JOB_ID"]
    return f"slurm-{name}" if step == "0" else f"slurm-{name}-{step}"


def binds_tasks(cores: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether srun has started this rank, beside others, on cores of its own: it has fewer than the step."""
    tasks, of_step = (int(environment.get(f"SLURM_{name}", 1)) for name in ("STEP_NUM_TASKS", "CPUS_ON_NODE"))
    return "TORCHELASTIC_RUN_ID" not in environment and tasks > 1 and cores < of_step


def is_requeued(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether SLURM has started this job before."""
    return int(environment.get("SLURM_RESTART_COUNT", 0)) > 0


def check_rank_env(env: RankEnv | None, trainer: Mapping[str, Any]) -> None:
    """Raise UserError unless as many processes have been started as the configuration says, where it does."""
    nodes, devices = trainer.get("num_nodes"), trainer["devices"]
    if env is None or nodes is None:
        if isinstance(nodes, int) and nodes > 1:
            raise UserError(
                f"trainer.num_nodes={nodes} needs the same command on every node: start it there with torchrun or srun "
                "(docs/tasks/cluster.md)"
            )
        return
    if env.local_world_size == 0:
        if isinstance(nodes, int) and isinstance(devices, int) and nodes * devices != env.world_size:
            raise UserError(
                f"trainer.num_nodes={nodes} with trainer.devices={devices} each, but {env.launcher} says that there "
                f"are {env.world_size} processes: pass trainer.num_nodes=auto trainer.devices=auto"
            )
        return
    if nodes not in ("auto", env.num_nodes):
        raise UserError(
            f"trainer.num_nodes={nodes}, but {env.launcher} started processes on {env.num_nodes}: "
            f"pass trainer=multi_node trainer.num_nodes={env.num_nodes}"
        )
    if devices not in ("auto", env.local_world_size):
        raise UserError(
            f"trainer.devices={devices}, but {env.launcher} started {env.local_world_size} processes on each node: "
            f"pass trainer.devices={env.local_world_size}"
        )


def _of_slurm_step(environment: Mapping[str, str]) -> RankEnv:
    """Translate the variables of a step that srun has started."""
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
    name = slurm_run_name(environment)
    return RankEnv(rank, local_rank, node, world, local, address, int(port), "srun", name)


def first_host(nodes: str) -> str:
    """Return the first host of SLURM's compressed list: node03 of node[03-05,09],login1."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)
