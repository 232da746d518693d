"""`inkwash runs`: list runs, the newest first, or the jobs of a sweep."""

from omegaconf import DictConfig

from inkwash.commands.export import one_sentence
from inkwash.commands.report import find_sweep
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError
from inkwash.reports.run_list import lines_of, terminal_width
from inkwash.runs.directory import RUNS
from inkwash.runs.overview import STATES, Row, rows_of

# What a list may be sorted by, each beginning with what is looked for: the newest, the best, the longest trained.
ORDERS = {
    "time": lambda row: -row.time,
    "metric": lambda row: (row.metric is None, str(row.metric), row.quality),
    "step": lambda row: -row.step,
    "name": lambda row: str(row.path),
}


def runs(config: DictConfig) -> None:
    """Print a line for each run."""
    with one_sentence():
        check(config)
        if config.sort not in ORDERS:
            raise UserError(f"sort={config.sort} must be {', '.join(ORDERS)}")
        if config.state not in (None, *STATES):
            raise UserError(f"state={config.state} must be null, or one of {', '.join(STATES)}")
        folder = RUNS if config.sweep is None else find_sweep(config.sweep)
        rows: list[Row] = sorted(rows_of(folder), key=ORDERS[config.sort])
        rows = [row for row in rows if config.state in (None, row.state)]
    if not rows:
        print(f"{folder} has no runs{'' if config.state is None else f' that are {config.state}'}: make train")
        return
    width = terminal_width()
    for line in lines_of(rows, folder, width):
        print(line)
    if width is not None:
        print(f"{folder}/NAME has its page, report.html; next: make resume run=NAME, make compare runs=NAME,OTHER")


def main() -> None:
    cli.run(runs, "runs")
