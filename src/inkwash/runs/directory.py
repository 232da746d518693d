"""RunDirectory: the files of a run by name."""

import contextlib
import json
import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from inkwash.config.validate import check_stored
from inkwash.errors import UserError
from inkwash.files import read_json, write_json
from inkwash.runs import config_file, relative_paths
from inkwash.runs.checkpoint_files import CheckpointFolder

RUNS = Path("runs")
AUTOMATIC = ("inception", "classifier", "pyramid")  # the extractors that extractor=auto chooses from
DONE = ("finished", "pruned")  # states of a job that is not run again


class RunDirectory:
    """Files of a run. Nothing is read or created before a property or method is used.

    Args:
        path: the directory, which need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.next_config_path = self.path / "config.next.yaml"
        self.record_path = self.path / "run.json"
        self.status_path = self.path / "status.json"
        self.summary_path = self.path / "summary.json"
        self.trial_path = self.path / "trial.json"
        self.error_path = self.path / "error.txt"
        self.console_path = self.path / "console.txt"
        self.lock_path = self.path / "launch.lock"
        self.log_path = self.path / "train.log"
        self.metrics_csv = self.path / "metrics.csv"
        self.metrics_jsonl = self.path / "metrics.jsonl"
        self.samples = self.path / "samples"
        self.snapshots = self.path / "snapshots"
        self.autoencoder = self.path / "autoencoder"
        self.evaluations = self.path / "evaluations"
        self.report_path = self.path / "report.html"
        self.report_folder = self.path / "report"

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def find(cls, name: str) -> "RunDirectory":
        """Find the run with this path, or with this name below runs/. Raises UserError if there is no such run."""
        for directory in (Path(name), RUNS / name):
            if (run := cls(directory)).config_path.is_file():
                return run
        raise UserError(f"run={name} is not a run directory: neither {name} nor {RUNS / name} has a config.yaml")

    @classmethod
    def below(cls, folder: Path) -> list["RunDirectory"]:
        """List every run below a folder, jobs of sweeps among them, sorted by path, without symbolic links."""
        return [cls(path.parent) for path in sorted(folder.glob("**/run.json")) if not path.parent.is_symlink()]

    # --- Configuration ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration of the checkpoints, in today's names; its images are found from any folder.

        Raises:
            UserError: config.yaml is missing or damaged, lacks something that sampling needs, or names something that
                a configuration may not call: the file may come from anywhere.
        """
        config = config_file.read(self.config_path)
        check_stored(config, self.config_path)
        return relative_paths.found(config, self.path, RUNS.name)

    @property
    def next_config(self) -> dict[str, Any]:
        """The configuration to train: config.next.yaml of a resume if it exists, else config.yaml."""
        there = self.next_config_path.is_file()
        return config_file.read(self.next_config_path if there else self.config_path)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.yaml for a run without checkpoints."""
        self.drop_next_config()
        config_file.write(self.config_path, config)

    def write_next_config(self, config: dict[str, Any]) -> None:
        """Write the configuration of a resume beside config.yaml, until a checkpoint of it exists.

        config.yaml is what the checkpoints were trained with. So a resume that is refused, fails or is killed before
        its first checkpoint leaves the run as it was.
        """
        config_file.write(self.next_config_path, config)

    def accept_next_config(self) -> None:
        """Make the configuration of a resume config.yaml."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.next_config_path, self.config_path)

    def drop_next_config(self) -> bool:
        """Delete the configuration of a resume; returns whether there was one."""
        there = self.next_config_path.exists()
        self.next_config_path.unlink(missing_ok=True)
        return there

    # --- Records ------------------------------------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any]:
        """run.json: id, command line and provenance of the run; {} before the first start.

        Raises:
            UserError: it is damaged.
        """
        if not self.record_path.exists():
            return {}
        try:
            record = read_json(self.record_path)
        except UserError:
            record = {}
        if not isinstance(record.get("id"), str):
            raise UserError(f"{self.record_path} is damaged: delete it, and the run is a new one to W&B")
        return record

    @property
    def classes(self) -> list[str]:
        """Names of the classes 0, 1, ... of the images it was trained on; [] if they have no names."""
        return self._of_data("classes") if self._of_data("named") else []

    @property
    def data_report(self) -> list[str]:
        """Lines of the report of the data set; [] before it was loaded."""
        return self._of_data("text")

    def _of_data(self, key: str) -> Any:
        data = self.record.get("data")
        value = data.get(key) if isinstance(data, dict) else None
        return list(map(str, value)) if isinstance(value, list) else value is True or []

    def write_record(self, record: dict[str, Any]) -> None:
        """Write run.json."""
        write_json(self.record_path, record)

    @property
    def status(self) -> dict[str, Any]:
        """status.json; {"state": "lost"} if it is missing or damaged."""
        try:
            status = read_json(self.status_path)
        except UserError:
            status = {}
        return status if isinstance(status.get("state"), str) else {"state": "lost"}

    def write_status(self, state: str, **more: Any) -> None:
        """Write status.json. States: running, finished, pruned, stopped, failed."""
        write_json(self.status_path, {"state": state, "time": time.time(), **more})

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json: steps, loss and metrics at the end. Raises UserError if it is missing or damaged."""
        return read_json(self.summary_path)

    @property
    def metric_records(self) -> list[dict[str, Any]]:
        """metrics.jsonl: every metric that was measured, with its protocol, in the order of measuring."""
        if not self.metrics_jsonl.exists():
            return []
        return [json.loads(line) for line in self.metrics_jsonl.read_text("utf-8").splitlines()]

    @property
    def readable_metric_records(self) -> list[dict[str, Any]]:
        """Those of metric_records that can be read: a run that trains may be in the middle of writing one."""
        found = []
        with contextlib.suppress(OSError):
            for line in self.metrics_jsonl.read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError, LookupError, TypeError):
                    record = json.loads(line)
                    found.append({**record, "name": str(record["name"]), "value": float(record["value"])})
        return found

    @property
    def extractor_name(self) -> str | None:
        """Name of the extractor that the run's own metrics began with; None before the first, or of a damaged file."""
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return next((r["extractor"] for r in self.metric_records if r["extractor"] in AUTOMATIC), None)
        return None

    def rank_error_path(self, rank: int) -> Path:
        """The error report of a rank."""
        return self.path / f"error-rank-{rank}.txt"

    @property
    def rank_errors(self) -> list[Path]:
        """The error reports of all ranks, the oldest first."""
        return sorted(self.path.glob("error-rank-*.txt"), key=lambda path: path.stat().st_mtime)

    def drop_errors(self) -> None:
        """Delete the error reports of an earlier start."""
        for path in (self.error_path, *self.path.glob("error-rank-*.txt")):
            path.unlink(missing_ok=True)

    @cached_property
    def checkpoints(self) -> CheckpointFolder:
        """The files of checkpoints/."""
        return CheckpointFolder(self.path / "checkpoints")

    @property
    def has_begun(self) -> bool:
        """True if the directory has metrics, images, checkpoints or W&B records of a training."""
        left = (self.metrics_csv, self.metrics_jsonl, self.samples, self.path / "wandb")
        return any(path.exists() for path in left) or bool(self.checkpoints.newest_first())

    @property
    def latest(self) -> str | None:
        """The name of the run that runs/latest leads to; None without such a link."""
        with contextlib.suppress(OSError):
            return os.readlink(self.path.parent / "latest")
        return None

    def point_latest(self, name: str | None = None) -> None:
        """Make runs/latest a link to this directory, or to the one of another name beside it."""
        link = self.path.parent / f".latest-{os.getpid()}"
        with contextlib.suppress(OSError):
            link.symlink_to(name or self.path.name)
            os.replace(link, self.path.parent / "latest")


def find_weights(name: str) -> Path:
    """Find init_from: a checkpoint file, or a run given by its path or its name below runs/."""
    try:
        return Path(name) if Path(name).is_file() else RunDirectory.find(name).path
    except UserError as error:
        raise UserError(f"init_from={name} is neither a checkpoint nor a run directory") from error
