"""Base class of the sweepers: a directory for each job, named by its overrides, and batches for a launcher."""

import contextlib
import io
import signal
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from inkwash.errors import UserError
from inkwash.sweeps import plan, table


class JobSweeper(Sweeper, ABC):
    """Sweeper whose jobs have directories named by their overrides, and that ends with the sweep's table."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        plan.begin(config)
        self.hydra_context: Any = hydra_context
        self.config: Any = config
        self.directory = Path(config.hydra.sweep.dir)
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    @abstractmethod
    def sweep(self, arguments: list[str]) -> None: ...

    def parse(self, arguments: list[str]) -> list[Override]:
        """Parse the command line. Raises UserError for a list of run names."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides(arguments)
        for override in parsed:
            if override.key_or_group == "run" and override.is_sweep_override():
                raise UserError(f"{override.input_line} names runs: a sweep names its jobs, and is named by sweep=NAME")
        return parsed

    def launch(
        self, jobs: Iterator[tuple[str, list[str]]], done: Callable[[str], None] | None = None, batch: int | None = None
    ) -> list[str]:
        """Run jobs and return their names.

        Args:
            jobs: names of directories and overrides; the next one is taken only when it can start.
            done: called with the name of each job that has ended.
            batch: number of jobs for one call of a launcher that takes them in batches; None for all.
        """
        names: list[str] = []

        def overrides() -> Iterator[list[str]]:
            for name, job in jobs:
                names.append(name)
                yield [*job, f"hydra.sweep.subdir={name}"]

        def ended(index: int, result: JobReturn | None) -> None:
            if result is not None and result.status is JobStatus.FAILED:
                report(result)
            if done is not None:
                done(names[index])

        waiting = overrides()
        if stream := getattr(self.launcher, "stream", None):  # SlotsLauncher takes one job at a time
            stream(waiting, ended)
        while some := list(islice(waiting, batch)):
            first = len(names) - len(some)
            results = self._launch_batch(some, first)
            for index, result in enumerate(results, first):
                ended(index, result)
        return names

    def _launch_batch(self, batch: list[list[str]], first: int) -> Sequence[JobReturn | None]:
        """Launch a batch and return the result of each job, None if the launcher does not report it."""
        if (before := signal.getsignal(signal.SIGINT)) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # launchers stop their jobs on KeyboardInterrupt
        try:
            return self.launcher.launch(batch, initial_job_idx=first)
        except UserError:
            raise
        except KeyboardInterrupt:  # the jobs get the signal, too
            sys.exit(130)
        except Exception as error:  # the launcher's: a job that a scheduler killed, for example
            print(f"error: {type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr)
            return [None] * len(batch)
        finally:
            signal.signal(signal.SIGINT, before)

    def end(self, names: list[str], metric: str | None = None, more: Iterable[str] = ()) -> None:
        """Print the table, sorted by a metric, and further lines, and exit."""
        sys.exit(table.finish(self.directory, names, metric, more))


def report(failed: JobReturn) -> None:
    """Print the exception of a job: a sentence for a UserError, else a traceback, since `train` reports the rest."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra writes a line of its own
            _ = failed.return_value
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        traceback.print_exception(error)
