"""`inkwash compare runs=A,B`: print what differs between runs, and write the page that compares them."""

import sys
from collections.abc import Mapping

from omegaconf import DictConfig

from inkwash.commands.export import one_sentence
from inkwash.commands.output import writing_to
from inkwash.commands.report import comparison_path, runs_to_compare, with_list
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.reports import config_diff
from inkwash.reports.comparison import Compared, write_comparison
from inkwash.reports.console import print_table
from inkwash.reports.difference_lines import lines_of
from inkwash.reports.run_files import RunFiles
from inkwash.reports.run_list import terminal_width


def compare(config: DictConfig) -> None:
    """Print the keys whose values differ and the results, then write the page and print where it is."""
    with one_sentence():
        check(config)
        found = runs_to_compare(config)
        path = comparison_path(config.out, found)
        runs = Compared(found).runs
        print_difference(runs)
        print_results(runs)
        with writing_to(path):
            write_comparison(path, found)
    print(f"{path}    curves and samples side by side: open it in a browser")


def print_difference(runs: Mapping[str, RunFiles]) -> None:
    """Print a line for each key whose values differ."""
    configs = {name: own.config for name, own in runs.items() if own.config}
    found = config_diff.between(configs) if len(configs) > 1 else []
    if found:
        print("\n".join(lines_of(found, list(configs), terminal_width())))
    elif len(configs) == len(runs):
        print("the configurations are the same")
    for name in runs.keys() - configs.keys():
        print(f"{name} has no configuration that can be read")


def print_results(runs: Mapping[str, RunFiles]) -> None:
    """Print a table of state, step, losses and the last value of each metric, with what real images reach."""
    metrics = dict.fromkeys(name for own in runs.values() for name in own.latest)
    lines = [
        ["state", *(str(own.status["state"]) for own in runs.values())],
        ["step", *(f"{own.step}/{own.max_steps or '–'}" for own in runs.values())],
        *([column, *(_last(own, column) for own in runs.values())] for column in ("train/loss", "heldout/loss")),
        *([name, *(_value(own, name) for own in runs.values())] for name in metrics),
    ]
    print_table(["", *runs], lines)


def _last(own: RunFiles, column: str) -> str:
    values = own.curves.get(column, ([], []))[1]
    return f"{values[-1]:.4g}" if values else "–"


def _value(own: RunFiles, name: str) -> str:
    if name not in own.latest:
        return "–"
    floor = own.floor(name)
    return f"{own.latest[name]['value']:.4g}{'' if floor is None else f' (real {floor:.4g})'}"


def main() -> None:
    sys.argv[1:] = [with_list(argument) for argument in sys.argv[1:]]
    cli.run(compare, "compare")
