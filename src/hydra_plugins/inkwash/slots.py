"""Launcher for several jobs at once on this machine, each with its own GPUs or its own part of the CPU cores."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, ListConfig, open_dict

from inkwash.errors import UserError
from inkwash.launch.signals import SIGNALS, die_with_parent, passing_on
from inkwash.launch.start import visible_gpus
from inkwash.runs.directory import RunDirectory
from inkwash.runs.lock import alone

SUBDIR = "hydra.sweep.subdir="


@dataclass
class SlotsConf:
    """Settings of conf/launcher/parallel.yaml and gpus.yaml."""

    _target_: str = "hydra_plugins.inkwash.slots.SlotsLauncher"
    jobs: int | None = None
    gpus: Any = None
    gpus_per_job: int = 1


ConfigStore.instance().store(group="hydra/launcher", name="inkwash_slots", node=SlotsConf, provider="inkwash")


class SlotsLauncher(Launcher):
    """Launcher that forks a process for each job; its output goes to console.txt in the job's directory.

    Args:
        jobs: number of jobs at once, on all devices of the machine.
        gpus: or the GPUs to divide among the jobs, by their names in CUDA_VISIBLE_DEVICES; auto for all.
        gpus_per_job: number of GPUs for each job.
    """

    def __init__(self, jobs: int | None, gpus: Any, gpus_per_job: int):
        self.jobs, self.gpus, self.gpus_per_job = jobs, gpus, gpus_per_job

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.slots()  # raises if they are impossible

    def slots(self) -> list[dict[str, str]]:
        """List the environment variables of each slot. Raises UserError for impossible settings."""
        if self.gpus is None:
            environments = [{} for _ in range(self.jobs or 0)]
        else:
            if self.gpus != "auto" and not isinstance(self.gpus, list | ListConfig):
                raise UserError(f"hydra.launcher.gpus={self.gpus} must be auto or a list of GPUs, like [0,1]")
            gpus = visible_gpus() if self.gpus == "auto" else [str(gpu) for gpu in self.gpus]
            n = self.gpus_per_job
            if not gpus:
                raise UserError("launcher=gpus finds no GPU: pass hydra.launcher.gpus=[0,1], or launcher=parallel")
            if n < 1 or len(gpus) % n:
                raise UserError(
                    f"hydra.launcher.gpus_per_job={n} does not divide {len(gpus)} GPUs evenly: pass a divisor"
                )
            environments = [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[i : i + n])} for i in range(0, len(gpus), n)]
        if not environments:
            raise UserError(f"hydra.launcher.jobs={self.jobs} must be at least 1")
        threads = str(max(1, (os.cpu_count() or 1) // len(environments)))
        return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), **slot} for slot in environments]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        results: dict[int, JobReturn] = {}
        self.stream(iter(job_overrides), results.__setitem__)
        return [results[index] for index in sorted(results)]

    def stream(self, jobs: Iterator[Sequence[str]], done: Callable[[int, JobReturn], None]) -> None:
        """Run jobs, lists of overrides, each in the next slot that is free.

        A signal is passed on to the jobs, which save and stop; then no other job starts, and this process exits.

        Args:
            done: called with the index and the result of each job that has ended.
        """
        free, live, count = deque(self.slots()), {}, 0

        def pass_on(number: int) -> None:
            for job, _ in list(live.values()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job.process.pid, number)

        with passing_on(pass_on) as received:
            while True:
                while free and not received and (overrides := next(jobs, None)) is not None:
                    slot = free.popleft()
                    job = self._start(count, overrides, slot)
                    live[job.results] = (job, slot)
                    count += 1
                if not live:
                    break
                for results in wait([*live]):
                    job, slot = live.pop(results)
                    outcome = job.end()
                    free.append(slot)
                    if not received:
                        done(job.index, outcome)
        if received:
            sys.exit(128 + received[0][0])

    def _start(self, index: int, overrides: Sequence[str], slot: dict[str, str]) -> "Job":
        named = (override.removeprefix(SUBDIR) for override in overrides if override.startswith(SUBDIR))
        directory = Path(self.config.hydra.sweep.dir, next(named, str(index)))
        return Job(index, directory, slot, lambda: self._run(index, overrides))

    def _run(self, index: int, overrides: Sequence[str]) -> JobReturn:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = index
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


class Job:
    """Running job: its process, and the connection that its result comes from."""

    def __init__(self, index: int, directory: Path, slot: dict[str, str], run: Callable[[], JobReturn]):
        self.index, self.directory = index, directory
        self.results, sender = multiprocessing.Pipe(duplex=False)
        fork = multiprocessing.get_context("fork")
        self.process = fork.Process(target=_work, args=(directory, slot, run, sender))
        self.process.start()
        sender.close()
        gpus = slot.get("CUDA_VISIBLE_DEVICES")
        print(f"started   {self.directory}" + (f" on GPU {gpus}" if gpus is not None else ""), flush=True)

    def end(self) -> JobReturn:
        """Wait for the end of the process, and of the ranks in its directory, which may outlive a killed process."""
        try:
            outcome = self.results.recv()
        except EOFError:
            outcome = None
        self.process.join()
        if outcome is None:
            with contextlib.suppress(UserError, OSError), alone(RunDirectory(self.directory)):
                pass
            code = self.process.exitcode
            outcome = JobReturn(status=JobStatus.FAILED)
            outcome.return_value = RuntimeError(f"the job's process ended with status {code}")
        print(f"{RunDirectory(self.directory).status['state']:9} {self.directory}", flush=True)
        return outcome


def _work(directory: Path, slot: dict[str, str], run: Callable[[], JobReturn], sender: Connection) -> None:
    """Run a job in its process and send the result."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()
    os.environ.update(slot)
    directory.mkdir(parents=True, exist_ok=True)
    with open(RunDirectory(directory).console_path, "a") as console:
        os.dup2(console.fileno(), 1)
        os.dup2(console.fileno(), 2)
    sender.send(run())
