"""Log a training to MLflow."""

import logging
import os
import re
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from inkwash.reach import problem_of
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.lost import until_lost
from inkwash.tracking.open_loggers import flat
from inkwash.tracking.pictures import pixels

log = logging.getLogger(__name__)

ID = "inkwash.id"  # a tag with the id of run.json, by which a resumed run finds its MLflow run
AT_ONCE = 100  # parameters in a request, MLflow's limit


def _server_failed(logger: "MLflow", error: Exception) -> str | None:
    """Tell the failure of a server, by any error: of MLflow, of requests, of sockets."""
    reason = " ".join(str(error).split())[:200]
    return f"MLflow       {shown(logger.uri)} has failed ({reason})" if logger.is_remote else None


while_it_answers = until_lost(_server_failed)


class MLflow(Logger):
    """Logger of the MLflow run of a run directory: on a server, or in the folder mlruns beside the runs.

    A server that does not answer within five seconds at the start is replaced by the folder; one that fails later is
    left alone after a warning. A resumed run goes on in the same MLflow run; the steps that it repeats are sent once.

    Args:
        directory: the run directory.
        tracking_uri: of the server; None is MLFLOW_TRACKING_URI, and without it the folder.
        experiment: None is MLFLOW_EXPERIMENT_NAME, and without it the sweep's name or `inkwash`.
        name: of the MLflow run; None is the run directory's.
        tags: of the MLflow run.
    """

    def __init__(
        self,
        directory: str,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        name: str | None = None,
        tags: dict[str, str] | None = None,
    ):
        super().__init__()
        self.directory = RunDirectory(directory)
        record = self.directory.record
        self.uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or self._store(record["sweep"])
        self.experiment_name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or record["sweep"] or "inkwash"
        self.run_name, self.tags = name or self.directory.path.name, {**(tags or {}), ID: record["id"]}
        self.run_id = ""
        self.gone = False
        self._client: Any = None
        self._steps: dict[str, int] = {}  # by value or picture, the last step that MLflow has

    def _store(self, sweep: str | None) -> str:
        """Return the folder beside the runs, of a sweep's job beside the sweep."""
        parents = self.directory.path.resolve().parents
        return (parents[1 if sweep else 0] / "mlruns").as_uri()

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def version(self) -> str:
        return self.run_id

    @property
    def is_remote(self) -> bool:
        """True if the run is stored on a server, False for a folder."""
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The MlflowClient: the run begins here, or goes on."""
        if self._client is None:
            if self.is_remote and (reason := problem_of(urlsplit(self.uri))):
                asked, self.uri = self.uri, self._store(self.directory.record["sweep"])
                asked = shown(asked)
                log.warning("MLflow       %s cannot be reached (%s): this is logged to %s", asked, reason, self.uri)
            self._client = self._begin()
        return self._client

    def _begin(self) -> Any:
        """Find the run of this run directory, or create it."""
        from mlflow import MlflowClient  # takes seconds, and may not be installed

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(self.experiment_name)
        number = experiment.experiment_id if experiment else client.create_experiment(self.experiment_name)
        found = client.search_runs([number], f"tags.`{ID}` = '{self.tags[ID]}'", max_results=1)
        run = found[0] if found else client.create_run(number, tags=self.tags, run_name=self.run_name)
        self.run_id = run.info.run_id
        if found:
            client.update_run(self.run_id, status="RUNNING")
            histories = {name: client.get_metric_history(self.run_id, name) for name in run.data.metrics}
            self._steps = {name: max(value.step for value in values) for name, values in histories.items()}
            self._steps |= dict(_pictures_of(client, self.run_id))
        return client

    @rank_zero_only
    @while_it_answers
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        from mlflow.entities import Param, RunTag

        client = self.experiment
        there = client.get_run(self.run_id).data.params
        values = {key: str(value)[:6000] for key, value in flat(params).items()}
        # MLflow refuses another value of a parameter: what a resume has changed is a tag.
        new = [Param(key, value) for key, value in values.items() if key not in there]
        changed = [RunTag(key, value) for key, value in values.items() if there.get(key, value) != value]
        for first in range(0, max(len(new), len(changed)), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            client.log_batch(self.run_id, params=new[some], tags=changed[some])

    @rank_zero_only
    @while_it_answers
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        assert step is not None, "every number here belongs to a step"
        client, now = self.experiment, int(1000 * time.time())
        values = {re.sub(r"[^\w/. :-]", "_", name): value for name, value in metrics.items()}
        new = {name: value for name, value in values.items() if step > self._steps.get(name, -1)}
        if new:
            client.log_batch(self.run_id, [Metric(name, float(value), now, step) for name, value in new.items()])
        self._steps |= dict.fromkeys(new, step)

    @rank_zero_only
    @while_it_answers
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Send a picture (3, height, width), uint8."""
        client = self.experiment
        if step > self._steps.get(f"images/{name}", -1):
            client.log_image(self.run_id, pixels(picture), key=name, step=step)
            self._steps[f"images/{name}"] = step

    def close(self, failed: bool) -> None:
        """End the MLflow run."""
        if self._client is not None:
            self._end("FAILED" if failed else "FINISHED")

    @while_it_answers
    def _end(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)


def _pictures_of(client: Any, run_id: str) -> Iterator[tuple[str, int]]:
    """Yield images/NAME with the last step of each picture that a run has."""
    last: dict[str, int] = {}
    for file in client.list_artifacts(run_id, "images"):
        if found := re.match(r"images/(.+?)[+%]step[+%](\d+)[+%]", file.path):  # % in older versions
            last[f"images/{found[1]}"] = max(int(found[2]), last.get(f"images/{found[1]}", -1))
    yield from last.items()


def shown(uri: str) -> str:
    """Return an address without the password that may be in it."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
