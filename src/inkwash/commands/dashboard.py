"""`inkwash dashboard [run=NAME] [out=PATH]`: make a W&B workspace with a panel for every value that a run logged."""

import csv
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.commands.export import one_sentence
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError
from inkwash.files import make_folder, read_json, write_text
from inkwash.runs.best import logged_directions
from inkwash.runs.directory import RUNS, RunDirectory
from inkwash.tracking import wandb_settings
from inkwash.tracking.wandb_offline import default_entity
from inkwash.tracking.wandb_reach import reach
from inkwash.tracking.wandb_settings import has_api_key

# Groups that sweeps choose from, and numbers that they vary.
GROUPS = ("model", "schedule", "prediction", "weighting", "times", "loss")
NUMBERS = ("optimizer.lr", "data.batch_size", "seed")


def dashboard(config: DictConfig) -> None:
    """Save the workspace in W&B where there is an API key, else write it to a file, and say which."""
    with one_sentence():
        check(config)
        run = RunDirectory.find(config.run)
        path = Path(config.out or RUNS / "dashboard.json")
        if path.exists() and not path.is_file():  # renaming onto a device would remove the device
            raise UserError(f"out={path} exists and is not a regular file: choose another name")
        names, where = names_of(run), run.config["logger"].get("wandb", {})
        try:
            from inkwash.tracking import wandb_workspace  # takes seconds: only after the configuration is checked
        except ImportError as error:
            raise UserError("dashboards need wandb-workspaces: pip install 'inkwash[dashboard]'") from error
        online = config.out is None and has_api_key()
        entity, project = (
            config[key] or where.get(key) or wandb_settings.setting(key) for key in ("entity", "project")
        )
        if online:
            reach()
            entity = entity or default_entity()
        view = wandb_workspace.build(wandb_workspace.Logged(**names), entity or "", project or "inkwash", config.name)
        if online:
            view.save()
            print(f"{view.url}    saved in W&B")
            return
        make_folder("out", path.parent)
        write_text(path, wandb_workspace.to_json(view) + "\n")
        print(f"{path}    not in W&B yet: {'out= asks for a file' if config.out else 'there is no API key'}")
        print(f"publish it in the project {view.project} with: wandb login && make dashboard run={config.run}")


def names_of(run: RunDirectory) -> dict[str, Any]:
    """Return the fields of tracking.wandb_workspace.Logged, the names that a run logged, from the run's files."""
    path = run.metrics_csv
    if not path.is_file():
        raise UserError(f"run={run} has no metrics.csv yet: a dashboard shows what a run has logged")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            values = [name for name in next(csv.reader(file), []) if name != "step"]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a copy") from error
    if not values:
        raise UserError(f"{path} is empty: a dashboard shows what a run has logged")
    config = run.config
    choices = read_json(run.record_path).get("choices", {})
    files = {"samples": "step-*.png", "neighbours": "neighbours-step-*.png"}
    drawn = [name for name, pattern in files.items() if any(run.samples.glob(pattern))]
    labelled = config["model"].get("num_classes") and config["logger"].get("wandb", {}).get("sample_table")
    numbers = [key for key in NUMBERS if OmegaConf.select(OmegaConf.create(config), key) is not None]
    return {
        "values": values,
        "pictures": drawn,
        "tables": ["samples_by_class"] if drawn and labelled else [],
        "settings": [*(f"run.choices.{group}" for group in GROUPS if group in choices), *numbers],
        "directions": logged_directions(run),
        "data": run.data_report,
    }


def main() -> None:
    cli.run(dashboard, "dashboard")
