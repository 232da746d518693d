"""python -m inkwash.train [overrides]: compose a configuration, then train it in processes of its own.

No torch in this process: a misspelt key is told within a second.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inkwash import launch, schema, sweep
from inkwash.check import check
from inkwash.errors import UserError

schema.register()
OmegaConf.register_new_resolver("sweep_name", launch.sweep_name, replace=True)


def train(config: DictConfig) -> float:
    """One job; returns its first metric, or NaN when it failed, for sweepers."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun:
        sweep.note_directory(Path(HydraConfig.get().sweep.dir))
    try:
        check(config)
        directory = decide_directory(config)
        prepare(directory, config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if not multirun:
            sys.exit(1)
        sweep.note_failure(list(HydraConfig.get().overrides.task), str(error))
        return float("nan")
    status = launch.start("inkwash.fit", directory, config.trainer.accelerator, config.trainer.devices)
    if status != 0:
        launch.write_status(directory, "failed", error=_error(directory))
        if not multirun:
            sys.exit(status if status > 0 else 128 - status)
        return float("nan")
    launch.write_status(directory, "finished")
    summary = json.loads((directory / "summary.json").read_text())
    if not multirun:
        print(closing_line(directory))
    return next(iter(summary["metrics"].values()), {"value": float("nan")})["value"]


def decide_directory(config: DictConfig) -> Path:
    """runs/NAME, a new readable name by default; in a sweep a directory named by the job's overrides."""
    settings = HydraConfig.get()
    if config.resume not in ("auto", "must", "never"):
        raise UserError(f"resume={config.resume} must be auto, must or never")
    if settings.mode == RunMode.MULTIRUN:
        directory = Path(settings.sweep.dir) / launch.job_name(list(settings.overrides.task))
    elif config.run is None:
        choices = settings.runtime.choices
        parts = [str(choices.get(group, "")) for group in ("data", "model", "schedule", "prediction")]
        name = "-".join([*filter(None, parts), launch.stamp()])
        directory = launch.new_directory(launch.RUNS, name)
        launch.point_latest(directory)
    else:
        directory = launch.RUNS / launch.safe_name("run", config.run)
    last = directory / "checkpoints" / "last.ckpt"
    if config.resume == "must" and not last.exists():
        raise UserError(f"resume=must, but there is no {last}: check run=, or pass resume=auto to start afresh")
    if config.resume == "never" and last.exists():
        raise UserError(f"resume=never, but {directory} already holds a run: choose another run=NAME or delete it")
    directory.mkdir(parents=True, exist_ok=True)
    if config.run is not None and settings.mode != RunMode.MULTIRUN:
        launch.point_latest(directory)
    return directory


def prepare(directory: Path, config: DictConfig) -> None:
    """Write what the ranks read: config.yaml and run.json."""
    settings = HydraConfig.get()
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for key in ("run", "sweep", "resume"):
        plain.pop(key)
    before = directory / "run.json"
    about = {
        # Of the run, not of this start: a resumed run is the same run to W&B.
        "id": json.loads(before.read_text())["id"] if before.exists() else uuid.uuid4().hex[:8],
        "overrides": list(settings.overrides.task),
        "sweep": Path(settings.sweep.dir).name if settings.mode == RunMode.MULTIRUN else None,
        "resume": config.resume,
        **launch.provenance(),
    }
    if (directory / "checkpoints" / "last.ckpt").exists():
        forbid_other_model(launch.read_config(directory), plain, directory)
    launch.write_config(directory, plain)
    launch.write_text(directory / "run.json", json.dumps(about, indent=2) + "\n")
    launch.write_status(directory, "running")


def forbid_other_model(old: dict[str, Any], new: dict[str, Any], directory: Path) -> None:
    """A checkpoint continues only with the network and the process it was trained with."""
    for key in ("model", "schedule", "prediction"):
        if old[key] != new[key]:
            raise UserError(
                f"{directory} holds a checkpoint of another {key} ({old[key]} there, {new[key]} now): "
                "choose another run=NAME"
            )


def closing_line(directory: Path) -> str:
    return f"{directory}    next: make sample run={directory} num_images=64"


def _error(directory: Path) -> str:
    reports = sorted(directory.glob("error-rank-*.txt"), key=lambda path: path.stat().st_mtime)
    return reports[0].read_text("utf-8").strip() if reports else "a process was killed"


def main() -> None:
    hydra.main(version_base="1.3", config_path=launch.config_dir(), config_name="train")(train)()
    if sweep.is_multirun(sys.argv):
        sys.exit(sweep.finish())


if __name__ == "__main__":
    main()
