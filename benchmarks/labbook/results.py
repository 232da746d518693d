"""Collect the values of a study from the records of its runs."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from inkwash.files import write_json
from inkwash.reports.run_files import RunFiles
from inkwash.runs.directory import RunDirectory
from labbook.runner import evaluation, is_done
from labbook.study import ROOT, STUDIES, Study, Training

Entry = dict[str, Any]


def collect(study: Study, runs: Path = ROOT / "runs") -> list[Entry]:
    """Return an entry for each measurement of each finished run of a study.

    An entry has row, seed, run, `cell` (what tells the evaluations of a run apart), values, floor, evaluations of the
    network for an image, images and seconds of training, with those of the run whose weights it takes, and what they
    were made with.
    """
    return [entry for training in study.trainings() for entry in entries(study, training, runs)]


def entries(study: Study, training: Training, runs: Path) -> Iterator[Entry]:
    """Yield the entries of one run, none if it is not finished, or not evaluated yet."""
    directory = runs / training.run
    run = RunDirectory(directory)
    if not is_done(run):
        return
    summary, record, files = run.summary, run.record, RunFiles(run)
    images, seconds = cost(training, runs)
    training_facts = {
        "row": training.row,
        "seed": training.seed,
        "run": training.run,
        "images": images,
        "seconds": round(seconds, 1),
        "heldout_loss": summary["heldout_loss"],
        "floor": files.floor(files.main_metric or ""),
        "commit": record["commit"],
        "dirty": record["dirty"],
        "versions": {name: record["versions"][name] for name in ("torch", "python")},
        "machine": summary.get("gpu") or machine.processor(),
        "trainer": [word for word in record["overrides"] if word.startswith("trainer.") and word not in training.words],
    }
    if not study.evaluate:
        values = {name: value["value"] for name, value in summary["metrics"].items()}
        first = next(iter(summary["metrics"].values()), None)
        yield training_facts | {"cell": {}, "values": values, "evaluations": first and calls(first)}
        return
    for number, words in enumerate(study.evaluate):
        table = evaluation(study, directory, number) / "table.json"
        for result in json.loads(table.read_text()) if table.exists() else ():
            # The name of a result is the overrides in which those of a table differ.
            settings = dict(word.split("=", 1) for word in [*words, *result["name"].split()] if "=" in word)
            cell = {key: settings.get(key, "default") for key in study.varied}
            yield training_facts | {"cell": cell, "values": result["metrics"], "evaluations": result["evaluations"]}


def calls(record: dict[str, Any]) -> int | None:
    """Return how often the network is evaluated for an image of a metric's record; None if that depends on more.

    Once in a step, and by Heun's method twice but for the last (Karras et al. 2022, algorithm 1); guidance takes more.
    """
    if record["guidance"] != 1:
        return None
    return 2 * record["steps"] - 1 if record["sampler"] == "Heun" else record["steps"]


def cost(training: Training, runs: Path) -> tuple[int, float]:
    """Return images and seconds of all steps of a run, and of the run whose weights it takes."""
    summary = RunDirectory(runs / training.run).summary
    images, seconds = cost(training.source, runs) if training.source else (0, 0.0)
    return images + summary["images"], seconds + summary["images"] / summary["images_per_second"]


def merge(study: Study, known: Sequence[Entry], found: Sequence[Entry]) -> list[Entry]:
    """Return what was found here, and what is known of the study's other runs: seeds may be measured anywhere.

    A run's name stands for the words of its training, so what is known of a row that has changed since is left out. A
    run that was collected before keeps the processor that was noted then: it may have been copied to this machine.
    """
    here = {entry["run"] for entry in found}
    machines = {(entry["run"], entry["seconds"]): entry["machine"] for entry in known}
    found = [{**entry, "machine": machines.get((entry["run"], entry["seconds"]), entry["machine"])} for entry in found]
    of_run: dict[str, list[Entry]] = {}
    for entry in [*found, *(entry for entry in known if entry["run"] not in here)]:
        of_run.setdefault(entry["run"], []).append(entry)
    return [entry for training in study.trainings() for entry in of_run.get(training.run, [])]


def add(study: Study) -> None:
    """Add what was measured here to results.json: a study that is stopped has the rows it came to."""
    write(study, merge(study, read(study), collect(study)))


def write(study: Study, found: Sequence[Entry], studies: Path = STUDIES) -> None:
    """Write results.json in the study's folder."""
    write_json(studies / study.name / "results.json", list(found))


def copy_grids(study: Study, runs: Path = ROOT / "runs", studies: Path = STUDIES) -> None:
    """Copy the last grid of samples of each row's first seed to the study's folder, as `grid_name` has it."""
    for row in study.rows:
        run = RunDirectory(runs / study.training(row, study.seeds[0]).run)
        if grids := RunFiles(run).grids("step-*.png"):
            shutil.copyfile(grids[-1][1], studies / study.name / grid_name(row))


def grid_name(row: str) -> str:
    """Return the name of the file with a row's grid of samples."""
    return re.sub(r"[^A-Za-z0-9]+", "-", row).strip("-").lower() + ".png"


def read(study: Study, studies: Path = STUDIES) -> list[Entry]:
    """Return the entries of a study's rows as they are now, [] if it was not measured."""
    path = studies / study.name / "results.json"
    return merge(study, json.loads(path.read_text()), []) if path.exists() else []
