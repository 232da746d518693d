"""Sweeper for every combination of the values that are listed (sweeper=grid)."""

from collections.abc import Iterator
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from hydra_plugins.inkwash.jobs import JobSweeper
from inkwash.errors import UserError
from inkwash.sweeps import plan, table


@dataclass
class GridConf:
    """Settings of conf/sweeper/grid.yaml."""

    _target_: str = "hydra_plugins.inkwash.grid.GridSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="inkwash_grid", node=GridConf, provider="inkwash")


class GridSweeper(JobSweeper):
    """Sweeper like Hydra's own, but without the jobs that a sweep of the same name has finished already."""

    def sweep(self, arguments: list[str]) -> None:
        parsed = self.parse(arguments)
        for override in parsed:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise UserError(f"{override.input_line} lists no values: list some, or pass sweeper=optuna")
        plan.refuse_counts(parsed)
        varied = {override.get_key_element() for override in parsed if override.is_sweep_override()}
        grid = plan.combinations(parsed)
        self.validate_batch_is_legal(grid)
        jobs = {plan.job_name([o for o in job if o.partition("=")[0] in varied], job): job for job in grid}
        done = {name for name in jobs if table.done(self.directory / name)}
        plan.announce(self.config, f"{len(jobs)} jobs" + (f", {len(done)} of them done already" if done else ""))

        def waiting() -> Iterator[tuple[str, list[str]]]:
            return ((name, job) for name, job in jobs.items() if name not in done)

        self.launch(waiting())
        self.end([*jobs])
