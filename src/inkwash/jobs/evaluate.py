"""Evaluate: what each rank of an evaluation runs. A cell of the evaluation is one row of its table."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from inkwash.autoencoders.refusals import sees_pixels
from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.files import read_json, write_text
from inkwash.images import to_float
from inkwash.jobs.evaluation_checks import check_labels, check_path, classes_of
from inkwash.jobs.image_sources import ImageSource, from_elsewhere, from_run
from inkwash.jobs.result_cache import key_of
from inkwash.launch.environment import RankEnv
from inkwash.metrics.bits_per_dim import BitsPerDim
from inkwash.metrics.ranks import barrier
from inkwash.metrics.suite import Suite
from inkwash.reports.evaluation_report import write_evaluation_report
from inkwash.reports.evaluation_table import console_table, plot_quality, rows, write_tables
from inkwash.reports.length_plot import plot_lengths
from inkwash.reports.progress_bar import progress_bar
from inkwash.run import Run, load_run
from inkwash.runs import config_file
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.generate import ClassLabels, labels_to_measure
from inkwash.training.callbacks.generation import of_reconstructions
from inkwash.training.micro_batches import enough_memory
from inkwash.training.threads import set_threads_to_draw
from inkwash.training.trainer import resolve_device, start_group

log = logging.getLogger(__name__)

OTHER_IMAGES = "the files of data.path have changed since the training, which may have seen what is held out now"


def evaluate(directory: Path) -> None:
    """Measure every cell of directory/evaluate.yaml that has no result yet, and write the table of all."""
    config = config_file.load(directory / "evaluate.yaml")
    device = resolve_device(config["trainer"]["accelerator"])
    rank, world = start_group(device)
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s")
    set_threads_to_draw(config["trainer"]["threads"], RankEnv.current().local_world_size)
    data = build({**config["data"], "num_workers": 0})
    refused = check_path(config)
    data.setup()  # on all ranks: the first one decodes the images, and may take longer than others wait for an answer
    check_labels(config, data)
    evaluation = Evaluation(directory, config, data, rank, world, device)
    results = [evaluation.result(cell) for cell in config["cells"] if cell["name"] not in refused]
    if rank == 0:
        publish(directory, config, results, refused)
    if dist.is_initialized():
        dist.destroy_process_group()


class Evaluation:
    """The cells of an evaluation on one rank, which measures every world-size-th image.

    Args:
        directory: of the evaluation; cells/ in it holds the results.
        config: evaluate.yaml.
        data: the real images, which are set up.
        rank, world: of the process group.
        device: of this rank.
    """

    def __init__(self, directory: Path, config: dict[str, Any], data: Any, rank: int, world: int, device: torch.device):
        self.directory, self.config, self.data = directory, config, data
        self.rank, self.world, self.device = rank, world, device
        self.suites: dict[int, Suite] = {}
        self.reconstructions: dict[int, dict[str, float]] = {}

    def result(self, cell: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a cell: the stored one, or else measure it and store it.

        Raises:
            UserError: a file that the cell depends on was changed while it was measured.
        """
        path, result = as_rank_0(self.stored, cell)
        if result is None:
            text = json.dumps(self.measure(cell), indent=2, default=str)
            if as_rank_0(key_of, self.config, cell, self.data, self.device) != path.stem:
                raise UserError(
                    f"what {cell['name']} measures was changed meanwhile, its checkpoint perhaps by a training that "
                    "goes on: start the same command again when that has ended"
                )
            if self.rank == 0:
                path.parent.mkdir(exist_ok=True)
                write_text(path, text + "\n")
            barrier()
            result = json.loads(text)
        return {**result, "name": cell["name"]}  # a name tells the cells of this table apart

    def stored(self, cell: dict[str, Any]) -> tuple[Path, dict[str, Any] | None]:
        """Return the file of a cell's result, and the result; None if it is missing or damaged."""
        path = self.directory / "cells" / f"{key_of(self.config, cell, self.data, self.device)}.json"
        try:
            return path, read_json(path)
        except UserError:
            return path, None

    def suite(self, num_images: int) -> Suite:
        """Return the metrics for num_images images; there may be none if a likelihood is measured.

        Raises:
            UserError: nothing is left to measure.
        """
        if num_images not in self.suites:
            self.suites[num_images] = self._prepared_suite(num_images)
        return self.suites[num_images]

    def _prepared_suite(self, num_images: int) -> Suite:
        config = self.config
        metrics = [build(node) for node in config["metrics"].values()]
        suite = Suite(build(config["extractor"]), metrics, num_images)
        suite.prepare(
            self.data.train, self.data.heldout, config["cache_dir"], config["reference"], config["reference_file"],
            labelled=classes_of(config) is not None, flip=self.data.flip, classes=self.data.num_classes is not None,
            device=self.device,
        )  # fmt: skip
        if not suite.metrics and (config["likelihood"] is None or not len(self.data.heldout)):
            raise UserError(f"metrics=[{','.join(config['metrics'])}] measures nothing: {'; '.join(suite.left_out)}")
        return suite

    def measure(self, cell: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a cell, each with its record."""
        config, suite = self.config, self.suite(cell["num_images"])
        indices = range(self.rank, cell["num_images"], self.world)
        start = time.perf_counter()
        run = load_run(config["run"], cell["checkpoint"], cell["weights"]) if config["run"] is not None else None
        if run:
            source = from_run(run, config, cell, indices, self.device, self.labels(run, cell))
        else:
            source = from_elsewhere(config, cell, indices)
        with enough_memory(source.batch_size):
            values, records = self._metrics(cell, suite, source, len(indices))
        if run and config["data"] == run.config["data"] and run.images not in (None, self.data.train.fingerprint):
            for record in records.values():
                record["notes"].append(OTHER_IMAGES)
        evaluations = source.evaluations
        result = {
            "name": cell["name"],
            "metrics": values,
            "records": records,
            "num_images": cell["num_images"],
            **source.facts,
            "evaluations": round(evaluations.images / max(len(indices), 1), 2) if evaluations else None,
            "step": run.step if run else None,
            "seconds": round(time.perf_counter() - start, 2),
            "world_size": self.world,
        }
        if run and suite.metrics and not sees_pixels(run.config):
            result["metrics"] |= self.best_possible(run, cell, suite)
        if run and config["likelihood"] is not None:
            with enough_memory(config["batch_size"] or run.micro_batch):
                result["metrics"] |= self.likelihood(run, cell)
        return result

    def labels(self, run: Run, cell: dict[str, Any]) -> ClassLabels:
        """Return the classes that the images of a cell are drawn for."""
        real = self.data.train if self.config["reference"] == "train" else self.data.heldout
        return labels_to_measure(cell["labels"], real.labels, cell["num_images"], run.num_classes, "labels")

    def _metrics(self, cell: dict[str, Any], suite: Suite, source: ImageSource, total: int) -> tuple[dict, dict]:
        """Return the values of all metrics by name, and their records."""
        if not suite.metrics:
            return {}, {}
        suite.reset()
        with progress_bar(total=total, desc=cell["name"], unit="images", disable=self.rank != 0) as bar:
            for index, images, labels in source.batches:
                suite.update(index, images, labels)
                bar.update(len(index))
            values = suite.compute()
        return values, {name: dataclasses.asdict(record) for name, record in suite.records(**source.facts).items()}

    def best_possible(self, run: Run, cell: dict[str, Any], suite: Suite) -> dict[str, float]:
        """Return the distance of real images that the autoencoder of a run has encoded and decoded."""
        n, real = cell["num_images"], self.data.train if self.config["reference"] == "train" else self.data.heldout
        if n not in self.reconstructions and len(real) and run.autoencoder is not None:
            indices, ae = range(self.rank, n, self.world), run.autoencoder.to(self.device)
            self.reconstructions[n] = of_reconstructions(suite, ae, real, indices, self.device)
        return self.reconstructions.get(n, {})

    def likelihood(self, run: Run, cell: dict[str, Any]) -> dict[str, float]:
        """Return the mean bits per dimension of the held-out images and its standard error, for any number of ranks."""
        if not len(self.data.heldout):
            log.warning("no bits per dimension: no images are held out")
            return {}
        bits = build(self.config["likelihood"])
        meter, batch_size = BitsPerDim(bits.key).to(self.device), self.config["batch_size"] or run.micro_batch
        denoiser, indices = run.denoiser.to(self.device), range(self.rank, len(self.data.heldout), self.world)
        starts = range(0, len(indices), batch_size)
        for start in progress_bar(starts, desc="likelihood", unit="batches", disable=self.rank != 0):
            batch = indices[start : start + batch_size]
            images, labels = self.data.heldout.__getitems__(list(batch))
            y = labels.to(self.device) if run.num_classes is not None else None
            noise = ImageNoise(cell["seed"], batch, run.shape, self.device)
            meter.update(batch, bits(denoiser, to_float(images.to(self.device)), y, noise))
        return meter.compute()


def publish(
    directory: Path, config: dict[str, Any], results: list[dict[str, Any]], refused: dict[str, str] | None = None
) -> None:
    """Write the table and the plot of all results, and send them to W&B if the configuration asks for that.

    Args:
        refused: why cells could not be measured, by name.
    """
    write_tables(directory, results, refused)
    plot_quality(directory / "quality.png", results)
    plot_lengths(directory / "lengths.png", results)
    console_table(results, refused)
    of = next(config[key] for key in ("run", "images", "pipeline") if config[key] is not None)
    try:
        write_evaluation_report(directory / "report.html", f"Evaluation of {Path(of).name}", results)
    except Exception as error:  # the table is there, whatever is wrong with the page
        log.warning("report.html could not be written: %s: %s", type(error).__name__, error)
    if config["tracking"] is not None:
        tracker, trained = build(config["tracking"]), Path(config["run"]) if config["run"] is not None else None
        checkpoints = sorted({cell["checkpoint"] for cell in config["cells"]})
        tracker(directory, "evaluation", config, trained, checkpoints, rows(results), [directory / "quality.png"])


def as_rank_0(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on rank 0 and return its result on all ranks, which may see a shared disk differently."""
    box = [function(*arguments) if not dist.is_initialized() or dist.get_rank() == 0 else None]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    return box[0]
