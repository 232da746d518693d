"""Start the processes of a job and wait for their end. Without torch.

command -> elastic.py (one per machine, torch's elastic launcher) -> rank.py (one per device), which calls the job.
A command whose job has one process only is that one's parent itself, and so is one that torchrun or srun has started.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from inkwash.files import write_text
from inkwash.launch.environment import RankEnv
from inkwash.launch.report import report_of_ranks
from inkwash.launch.signals import passing_on
from inkwash.runs.directory import RunDirectory

GRACE_SECONDS = 45
DEVICES = Path("/dev")
# Device files of GPUs that torch may see beside nvidia0, nvidia1, ...: AMD's, and those of WSL and Jetson.
OTHER_GPUS = ("kfd", "dxg", "nvgpu", "nvhost-gpu")
# Environment variable with the command line, which must be the same for all ranks that torchrun or srun starts.
COMMAND_LINE = "INKWASH_COMMAND_LINE"


def exit_code(status: int) -> int:
    """Return a process's status as a shell gives it: 128 + n if signal n ended it."""
    return status if status >= 0 else 128 - status


def visible_gpus() -> list[str]:
    """List the GPUs that CUDA_VISIBLE_DEVICES names, or those of the machine, without torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        return []
    return [str(i) for i in range(len(re.findall(r"^GPU \d+", listed, re.MULTILINE)))]


def is_single(accelerator: str, devices: int | str) -> bool:
    """Tell without torch that a job has one process on this machine; False if torch has to count its GPUs."""
    if devices != "auto":
        return int(devices) == 1
    if accelerator == "cpu" or sys.platform == "darwin":
        return True
    if sys.platform != "linux" or any((DEVICES / name).exists() for name in OTHER_GPUS):
        return False
    named, present = os.environ.get("CUDA_VISIBLE_DEVICES"), len([*DEVICES.glob("nvidia[0-9]*")])
    return present <= 1 or (named is not None and len(named.split(",")) <= 1)


def start(
    job: str,
    config: Path,
    accelerator: str,
    devices: int | str,
    env: RankEnv | None = None,
    command_line: str = "",
) -> int:
    """Call a job on every rank, wait, and return the exit status.

    The processes form sessions of their own, so that nothing of one job reaches the next. Signals are passed on: a
    training saves and stops (callbacks/stop_on_signal.py). They end this process too once the job is over.

    Args:
        job: `module:function`, called with the directory of `config`.
        config: the file that says what to do, written for all ranks.
        env: this process's place if torchrun or srun has started it: then it starts one rank, its own.
        command_line: what was typed, which must be the same for all ranks.
    """
    if env is not None:
        return _start_rank(job, config, env, command_line)
    if is_single(accelerator, devices):
        return _start_single(job, config)
    command = [sys.executable, "-u", "-m", "inkwash.launch.elastic", job, str(config), accelerator, str(devices)]
    agent = subprocess.Popen(command, start_new_session=True)
    return _wait(agent, lambda: os.killpg(agent.pid, signal.SIGKILL))


def _start_single(job: str, config: Path) -> int:
    """Start the only rank of a job, in a session of its own."""
    RunDirectory(config.parent).drop_errors()
    variables = {**os.environ, **RankEnv(local_world_size=1).variables()}
    command = [sys.executable, "-u", "-m", "inkwash.launch.rank", job, str(config)]
    rank = subprocess.Popen(command, env=variables, start_new_session=True)
    status = _wait(rank, lambda: os.killpg(rank.pid, signal.SIGKILL))
    return report_of_ranks(config.parent, {0: status}) if status else 0


def _start_rank(job: str, config: Path, env: RankEnv, command_line: str) -> int:
    """Start one rank in this session, where its launcher finds it."""
    run = RunDirectory(config.parent)
    report = run.rank_error_path(env.rank)
    for stale in [report, *([run.error_path] if env.rank == 0 else [])]:
        stale.unlink(missing_ok=True)
    variables = {**os.environ, **env.variables(), COMMAND_LINE: command_line}
    rank = subprocess.Popen([sys.executable, "-u", "-m", "inkwash.launch.rank", job, str(config)], env=variables)
    status = exit_code(_wait(rank, rank.kill))
    if status and report.exists():
        print(text := report.read_text("utf-8").rstrip(), file=sys.stderr)
        if env.rank == 0:
            write_text(run.error_path, text + "\n")
    return status


def _wait(process: subprocess.Popen, kill: Callable[[], None]) -> int:
    """Return its exit status. Signals go to it; after the first one this process ends with it."""

    def pass_on(number: int) -> None:
        process.send_signal(number)
        signal.signal(signal.SIGALRM, lambda *_: kill())
        signal.alarm(GRACE_SECONDS)

    try:
        with passing_on(pass_on) as received:
            status = process.wait()
    finally:
        signal.alarm(0)
    if received:
        number, handler = received[0]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, None)  # submitit's requeues the job in SLURM
        # Not an exception: a sweep would go on with its next job.
        sys.exit(128 + number)
    return status
