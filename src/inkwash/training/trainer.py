"""Build Lightning's Trainer for a rank, and choose its device, strategy and threads."""

import os
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from inkwash.checkpoints.io import AtomicCheckpointIO
from inkwash.config.trainer_options import check_options
from inkwash.errors import UserError
from inkwash.launch.environment import RankEnv
from inkwash.training.compute_mode import simplest
from inkwash.training.fsdp import ShardedStrategy
from inkwash.training.precision import allow_tf32
from inkwash.training.profiling import build_profiler


def build_trainer(
    max_steps: int,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int | str = 1,
    strategy: str = "auto",
    precision: str = "auto",
    accumulate_grad_batches: int | str = 1,
    gradient_clip_val: float | None = 1.0,
    memory_format: str = "auto",
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    profiler: str | None = None,
    **wiring: Any,
) -> L.Trainer:
    """Return the Trainer of one rank of a job whose processes have been started.

    Args:
        max_steps: optimizer steps; epochs mean nothing here.
        accelerator: auto, cpu or gpu.
        devices: processes on each node, checked against those that were started; `auto` for one on each GPU.
        num_nodes: machines, checked against the processes that were started; `auto` for those that there are.
        strategy: ddp, fsdp (fsdp.py), or auto: ddp for more than one process.
        precision: one of Lightning's.
        accumulate_grad_batches: number of micro-batches of a step; `auto` for as few as fit in memory
            (micro_batches.py).
        gradient_clip_val: greatest norm of the gradient; None to clip nothing.
        memory_format: of the network, which has been put into it.
        threads: CPU threads of each process; None for one on each core. These three, which a configuration may leave
            to a choice, have been chosen (mode_choice.py).
        options: other arguments of Lightning's Trainer, those of config/trainer_options.py.
        profiler: `simple`, `advanced` or `pytorch` (profiling.py), which writes to the run directory; None for none.
        wiring: callbacks, logger and default_root_dir, from the caller.

    Raises:
        UserError: a value is invalid, or the processes are not those of the configuration.
    """
    options = dict(options or {})
    check_options(options, accumulate_grad_batches)
    local, nodes = check_processes(devices, num_nodes)
    if max_steps < 1:
        raise UserError(f"trainer.max_steps={max_steps} must be at least 1")
    if gradient_clip_val is not None and gradient_clip_val < 0:
        raise UserError(f"trainer.gradient_clip_val={gradient_clip_val} must not be negative; null clips nothing")
    device = resolve_device(accelerator)
    asked = {"precision": precision, "memory_format": memory_format, "threads": threads}
    mode = simplest(asked, device, local)
    set_threads(mode.threads)
    if device.type == "cuda":
        check_gpus(local)
        allow_tf32(device)
    elif options.get("sync_batchnorm") and local * nodes > 1:
        raise UserError("trainer.options.sync_batchnorm=true works on GPUs alone: leave it out on the CPU")
    options["profiler"] = build_profiler(profiler or options.get("profiler"), wiring.get("default_root_dir"))
    plugins: list[Any] = [AtomicCheckpointIO()]
    if "RANK" in os.environ:
        # Explicit, because within a SLURM job Lightning would read the ranks from SLURM, and requeue the job itself.
        plugins.append(TorchElasticEnvironment())
    return L.Trainer(
        max_steps=max_steps,
        max_epochs=-1,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=local,
        num_nodes=nodes,
        strategy=choose_strategy(strategy, local * nodes),
        precision=mode.precision,  # pyright: ignore[reportArgumentType]
        accumulate_grad_batches=1 if accumulate_grad_batches == "auto" else int(accumulate_grad_batches),
        gradient_clip_val=gradient_clip_val,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=plugins,
        **wiring,
        **options,
    )


def check_processes(devices: int | str, num_nodes: int | str) -> tuple[int, int]:
    """Return the number of processes on this node, and that of nodes. Raises UserError if others are asked for."""
    env = RankEnv.current()
    local, world = env.local_world_size, env.world_size
    if devices != "auto" and int(devices) != local:
        raise UserError(
            f"trainer.devices={devices}, but {local} processes were started on this node: pass auto, or {local}"
        )
    nodes = env.num_nodes if num_nodes == "auto" else int(num_nodes)
    if local * nodes != world:
        raise UserError(
            f"trainer.num_nodes={num_nodes} with {local} processes each, but {world} were started in all: pass the "
            "number of machines"
        )
    return local, nodes


def start_group(device: torch.device) -> tuple[int, int]:
    """Join the process group, if there are several processes, and choose this one's GPU; returns (rank, world size)."""
    env = RankEnv.current()
    if device.type == "cuda":
        torch.cuda.set_device(env.local_rank)
    if env.world_size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return env.rank, env.world_size


def check_gpus(processes: int) -> None:
    """Raise UserError unless every process of this node sees a GPU for each of them."""
    if torch.cuda.device_count() < processes:
        raise UserError(
            f"{processes} processes were started on this node, but each sees {torch.cuda.device_count()} of its GPUs: "
            "start one for each GPU and let all see all of them (with srun: --gpus-per-node, not --gpus-per-task)"
        )


def choose_strategy(strategy: str, processes: int) -> str | Strategy:
    """Return the strategy that exchanges gradients between processes. Raises UserError for an unknown name."""
    if strategy not in ("auto", "ddp", "fsdp"):
        raise UserError(f"trainer.strategy={strategy} must be auto, ddp or fsdp")
    if strategy == "fsdp":
        return ShardedStrategy()
    if strategy == "auto" and processes == 1:
        return "auto"
    # Ranks agree on buffers once a step, after it (buffers.py), so none have to be broadcast before each forward pass.
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def set_threads(threads: int) -> None:
    """Set the number of CPU threads of this process."""
    torch.set_num_threads(threads)
    # Without this Lightning sets a number of its own for several processes.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def resolve_device(accelerator: str) -> torch.device:
    """Return the device cpu or cuda; `auto` is cuda if there is one. Apple's mps lacks float64, which times need."""
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UserError(f"trainer.accelerator={accelerator} must be auto, cpu or gpu")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu, but torch sees no GPU here: use trainer.accelerator=auto")
    return torch.device("cpu" if accelerator == "cpu" or not torch.cuda.is_available() else "cuda")
