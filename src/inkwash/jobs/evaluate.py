"""What each rank of an evaluation does: look once at its share of the images, keep the values."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.files import read_json, write_text
from inkwash.images import to_float
from inkwash.jobs.image_sources import from_elsewhere, from_run
from inkwash.jobs.result_cache import key_of
from inkwash.launch.environment import RankEnv
from inkwash.metrics.bits_per_dim import BitsPerDim
from inkwash.metrics.extractors.base import NotApplicableError
from inkwash.metrics.suite import Suite
from inkwash.reports.evaluation_table import console_table, plot_quality, rows, write_tables
from inkwash.run import Run, load_run
from inkwash.runs import config_file
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.base import ImageNoise
from inkwash.training.trainer import resolve_device, set_threads

log = logging.getLogger(__name__)

OTHER_IMAGES = "the files of data.path have changed since the training, which may have seen what is held out now"


def evaluate(directory: Path) -> None:
    """Measure every cell of directory/evaluate.yaml that has no result yet, and write the table of all."""
    config = config_file.load(directory / "evaluate.yaml")
    device = resolve_device(config["trainer"]["accelerator"])
    rank, world = start_group(device)
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s")
    set_threads(config["trainer"]["threads"], RankEnv.current().local_world_size)
    data = build({**config["data"], "num_workers": 0})
    suites: dict[int, Suite] = {}
    results = []
    check_path(config)
    data.setup()  # on all ranks: who is first decodes the images, and may take longer than others wait for an answer
    check_labels(config, data)
    for cell in config["cells"]:
        path, result = as_rank_0(kept, directory, config, cell, data, device)
        if result is None:
            suite = suites.get(cell["num_images"]) or prepared_suite(config, cell["num_images"], data, device)
            suites[cell["num_images"]] = suite
            text = json.dumps(measure(config, cell, suite, data, rank, world, device), indent=2, default=str)
            if as_rank_0(key_of, config, cell, data, device) != path.stem:
                raise UserError(
                    f"what {cell['name']} measures was changed meanwhile, its checkpoint perhaps by a training that "
                    "goes on: start the same command again when that has ended"
                )
            if rank == 0:
                path.parent.mkdir(exist_ok=True)
                write_text(path, text + "\n")
            barrier()
            result = json.loads(text)
        results.append({**result, "name": cell["name"]})  # which says how it differs from the others of this table
    if rank == 0:
        write_tables(directory, results)
        plot_quality(directory / "quality.png", results)
        console_table(results)
        if config["tracking"] is not None:
            show, trained = build(config["tracking"]), Path(config["run"]) if config["run"] is not None else None
            used = sorted({cell["checkpoint"] for cell in config["cells"]})
            show(directory, "evaluation", config, trained, used, rows(results), [directory / "quality.png"])
    if dist.is_initialized():
        dist.destroy_process_group()


def check_path(config: dict[str, Any]) -> None:
    """A sampler or a likelihood that the run's path does not admit is told before the first image of any cell."""
    if config["run"] is not None:
        trained = RunDirectory(config["run"]).config
        schedule = build(trained["schedule"])
        for cell in config["cells"]:
            build(cell["sampler"]).check(schedule)
        if config["likelihood"] is not None:
            build(config["likelihood"]).check(schedule, bool(trained["model"].get("learn_variance")))


def check_labels(config: dict[str, Any], data: Any) -> None:
    """Raise UserError where the likelihood is to be one of images of classes that the run does not know."""
    known = classes_of(config)
    if known is not None and config["likelihood"] is not None and (largest := int(data.heldout.labels.max())) >= known:
        raise UserError(
            f"likelihood: the held-out images have labels up to {largest}, but run={config['run']} was trained with "
            f"model.num_classes={known}: pass data=... with its classes"
        )


def classes_of(config: dict[str, Any]) -> int | None:
    """How many classes images are asked for by; None for a run without classes, files and pipelines."""
    return RunDirectory(config["run"]).config["model"].get("num_classes") if config["run"] is not None else None


def start_group(device: torch.device) -> tuple[int, int]:
    """(rank, world size), with a process group when there is more than one, and a GPU for each if they use such."""
    env = RankEnv.current()
    if device.type == "cuda":
        torch.cuda.set_device(env.local_rank)
    if env.world_size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return env.rank, env.world_size


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def as_rank_0(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns on rank 0: all ranks must do the same, whatever a shared disk shows the others."""
    box = [function(*arguments) if not dist.is_initialized() or dist.get_rank() == 0 else None]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def kept(
    directory: Path, config: dict[str, Any], cell: dict[str, Any], data: Any, device: torch.device
) -> tuple[Path, dict[str, Any] | None]:
    """Where a cell's result is kept, and the result; None if there is none yet, or if it is damaged."""
    path = directory / "cells" / f"{key_of(config, cell, data, device)}.json"
    try:
        return path, read_json(path)
    except UserError:
        return path, None


def prepared_suite(config: dict[str, Any], num_images: int, data: Any, device: torch.device) -> Suite:
    """All metrics that have a meaning here; there may be none beside a likelihood.

    Raises:
        UserError: there is nothing to measure.
    """
    metrics = [build(node) for node in config["metrics"].values()]
    suite = Suite(build(config["extractor"]), metrics, num_images)
    try:
        suite.prepare(
            data.train,
            data.heldout,
            config["cache_dir"],
            config["reference"],
            config["reference_file"],
            labelled=classes_of(config) is not None,
            device=device,
        )
    except NotApplicableError as error:
        if config["likelihood"] is None:
            raise
        log.warning("no metrics: %s", error)
    if not suite.metrics and config["likelihood"] is None:
        raise UserError(f"metrics=[{','.join(config['metrics'])}] measures nothing: {'; '.join(suite.left_out)}")
    return suite


def measure(
    config: dict[str, Any],
    cell: dict[str, Any],
    suite: Suite,
    data: Any,
    rank: int,
    world: int,
    device: torch.device,
) -> dict[str, Any]:
    """One cell's values, each with its record."""
    indices = range(rank, cell["num_images"], world)
    start = time.perf_counter()
    run = load_run(config["run"], cell["checkpoint"], cell["weights"]) if config["run"] is not None else None
    bar = tqdm(total=len(indices), desc=cell["name"], unit="image", disable=rank != 0 or not suite.metrics)
    drawn = from_run(run, config, cell, indices, device) if run else from_elsewhere(config, cell, indices)
    values, records = {}, {}
    with bar:
        if suite.metrics:
            suite.reset()
            for index, images, labels in drawn.batches:
                suite.update(index, images, labels)
                bar.update(len(index))
            values = suite.compute()
            records = {name: dataclasses.asdict(r) for name, r in suite.records(**drawn.facts).items()}
    if run and config["data"] == run.config["data"] and run.images not in (None, data.train.fingerprint):
        for record in records.values():
            record["notes"].append(OTHER_IMAGES)
    result = {
        "name": cell["name"],
        "metrics": values,
        "records": records,
        "num_images": cell["num_images"],
        **drawn.facts,
        "evaluations": round(drawn.evaluations.images / max(len(indices), 1), 2) if drawn.evaluations else None,
        "step": run.step if run else None,
        "seconds": round(time.perf_counter() - start, 2),
        "world_size": world,
    }
    if run and config["likelihood"] is not None:
        result["metrics"] |= likelihood(run, config, cell, data, rank, world, device)
    return result


def likelihood(
    run: Run, config: dict[str, Any], cell: dict[str, Any], data: Any, rank: int, world: int, device: torch.device
) -> dict[str, float]:
    """Mean bits per dimension of the held-out images and its standard error, the same on any number of ranks."""
    bits = build(config["likelihood"])
    meter = BitsPerDim(bits.key).to(device)
    denoiser, indices = run.denoiser.to(device), range(rank, len(data.heldout), world)
    for start in tqdm(range(0, len(indices), config["batch_size"]), desc="likelihood", disable=rank != 0):
        batch = indices[start : start + config["batch_size"]]
        images, labels = data.heldout.__getitems__(list(batch))
        y = labels.to(device) if run.num_classes is not None else None
        noise = ImageNoise(cell["seed"], batch, run.shape, device)
        meter.update(batch, bits(denoiser, to_float(images.to(device)), y, noise))
    return meter.compute()
