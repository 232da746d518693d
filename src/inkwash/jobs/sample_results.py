"""Files of a sampling job, written as its images come, so that memory holds a batch and the rows of the grid.

OUT/images/         a PNG file for each image; in folders of their own if they are many
OUT/images.npy      all images in one array, if they have other channels than 1 or 3
OUT/grid.png        the first rows, as many as a person can open
OUT/trajectory.*    the way of the first images from noise, as a strip and an animation, if it is asked for
OUT/report.json     what the task measures
OUT/summary.json    the number of images, how many rows of all are in the grid, and steps and guidance
OUT/unfinished/     until the end: where the same command goes on, and the rows of the grid so far
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkwash.editing.tasks import Task
from inkwash.errors import UserError
from inkwash.files import read_json, write_json
from inkwash.reports.animation import ENDS, save_animation
from inkwash.reports.headings import headed
from inkwash.reports.image_grid import grid, most_images, save_png, usual_columns
from inkwash.run import Run
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import version
from inkwash.samplers.trajectory import Trajectory

STRIP = 12  # times in the strip of a trajectory
# Keys of sample.yaml on which no image depends.
WITHOUT_EFFECT = ("batch_size", "tracking", "out", "trajectory", "push", "dry", "private")


class SampleResults:
    """The files of a sampling job.

    Args:
        directory: OUT.
        config: sample.yaml.
        run: whose images they are.
        task: makes the rows.

    Attributes:
        done: rows that an interrupted job of the same configuration and weights has left: this one goes on after them.
    """

    def __init__(self, directory: Path, config: dict[str, Any], run: Run, task: Task):
        self.directory, self.task, self.run, self.count = directory, task, run, config["num_images"]
        self.columns, self.folder_size = config["columns"], config["folder_size"]
        one_each = config["label"] is None and task.inputs == 0 and run.num_classes is not None
        self.classes = RunDirectory(config["run"]).classes if one_each else []  # of the grid's columns
        self.images, self.array, self.unfinished = (directory / n for n in ("images", "images.npy", "unfinished"))
        self.key = _key(config, run)
        progress = self._progress(config["trajectory"])
        self.done, self.sums, self.ways = progress["rows"], progress["sums"], progress["trajectory"]
        if not self.done:
            self._clear()
        self.unfinished.mkdir(parents=True, exist_ok=True)
        self.images.mkdir(exist_ok=True)
        self.shown: list[Tensor] = [
            torch.from_numpy(np.load(path))
            for path in sorted(self.unfinished.glob("rows-*.npy"))
            if int(path.stem.partition("-")[2]) < self.done
        ]

    def add(self, indices: Sequence[int], rows: Tensor) -> None:
        """Write the results of rows uint8 (n, k, C, H, W), which follow those that were added before."""
        results = rows[:, self.task.results]
        self._write_images(indices, results)
        if self.run.shape[0] not in (1, 3):
            self._write_array(indices[0], results)
        if indices[0] < self._most_rows(rows):
            np.save(self.unfinished / f"rows-{indices[0]:09d}.npy", rows.numpy())
            self.shown.append(rows)
        for name, value in self.task.sums(rows).items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.done = indices[-1] + 1
        progress = {"key": self.key, "rows": self.done, "sums": self.sums, "trajectory": self.ways}
        write_json(self.unfinished / "progress.json", progress)
        if self.done < self.count and self.done >= self._most_rows(rows) > indices[0]:
            self._write_grid()  # there is something to look at long before the end

    def add_way(self, way: Trajectory, rows: Tensor) -> None:
        """Write the way of the first images, whose rows uint8 (n, k, C, H, W) are finished."""
        way.finish(rows[:, self.task.results][:, 0])
        frames = [torch.stack([*pair], 1).flatten(0, 1) for pair in zip(way.x_t, way.x_0, strict=True)]
        shown = [frames[i] for i in np.linspace(0, len(frames) - 1, min(STRIP, len(frames))).round().astype(int)]
        save_png(grid(torch.stack(shown, 1).flatten(0, 1), len(shown)), self.directory / "trajectory.png")
        columns = len(way.x_t[0])
        sheets = [grid(torch.cat(pair), columns) for pair in zip(way.x_t, way.x_0, strict=True)]
        save_animation(sheets, self.directory / "trajectory")

    def finish(self, drawn_with: dict[str, float]) -> None:
        """Write the files that need all rows.

        Args:
            drawn_with: the number of steps and the scale of guidance that were used, for summary.json.
        """
        rows = self._write_grid()
        if self.run.shape[0] not in (1, 3):
            (self.unfinished / self.array.name).replace(self.array)
        if facts := self.task.report(self.sums):
            write_json(self.directory / "report.json", facts)
            print(", ".join(f"{name} {value:.4g}" for name, value in facts.items()))
        each = rows[:1, self.task.results].shape[1]
        summary = {"images": self.count * each, "rows": self.count, "rows_in_grid": len(rows), **drawn_with}
        write_json(self.directory / "summary.json", summary)
        shutil.rmtree(self.unfinished)

    def _write_images(self, indices: Sequence[int], results: Tensor) -> None:
        """Write a file for each image of uint8 (n, k, C, H, W): 000000.png, or 000000-00.png if a row has several."""
        each, digits = results.shape[1], max(6, len(str(self.count - 1)))
        for i, images in zip(indices, results, strict=True):
            folder = self.images
            if self.folder_size is not None and self.count * each > self.folder_size:
                folder /= f"{i // max(1, self.folder_size // each):05d}"
            for k, image in enumerate(images):
                save_png(image, folder / (f"{i:0{digits}d}.png" if each == 1 else f"{i:0{digits}d}-{k:02d}.png"))

    def _write_array(self, first: int, results: Tensor) -> None:
        """Write images into the array's file, at their place: no memory map, for which a full disk is fatal."""
        path, each = self.unfinished / self.array.name, results.shape[1]
        if not path.exists():
            with open(path, "wb") as file:
                shape = (self.count * each, *results.shape[2:])
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        with open(path, "r+b") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            file.seek(first * results[0].numel(), 1)
            file.write(results.contiguous().numpy().tobytes())

    def _most_rows(self, rows: Tensor) -> int:
        return min(self.count, most_images(self.run.shape, rows.shape[1]))

    def _write_grid(self) -> Tensor:
        """Write the grid; returns the rows in it."""
        rows = torch.cat(self.shown)
        rows = rows[: self._most_rows(rows)]
        save_png(sheet(rows, self.columns, self.run.num_classes, self.classes), self.directory / "grid.png")
        return rows

    def _progress(self, ways: int) -> dict[str, Any]:
        """Return the progress of an interrupted job if this one makes the same images, and asks for no other `ways`.

        Args:
            ways: number of the first images whose way from noise is shown.
        """
        try:
            progress = read_json(self.unfinished / "progress.json")
            if progress["key"] == self.key and ways in (0, progress["trajectory"]):
                return progress
        except (UserError, LookupError):
            pass
        return {"rows": 0, "sums": {}, "trajectory": ways}

    def _clear(self) -> None:
        """Delete what an earlier job has left here."""
        for stale in (*self.images.glob("*.png"), *self.images.glob("[0-9]*/*.png")):
            stale.unlink()
        for folder in self.images.glob("[0-9]*/"):
            if not any(folder.iterdir()):
                folder.rmdir()
        ways = (f"trajectory{end}" for end in (".png", *ENDS))
        for name in ("grid.png", "images.npy", "report.json", "summary.json", *ways):
            (self.directory / name).unlink(missing_ok=True)
        shutil.rmtree(self.unfinished, ignore_errors=True)


def sheet(rows: Tensor, columns: int | None, num_classes: int | None, classes: Sequence[str] = ()) -> Tensor:
    """Return one image of rows uint8 (n, k, C, H, W), each of them k images side by side.

    Args:
        classes: names of the classes if image i is of class i mod num_classes: they stand above columns of one class.
    """
    count, width = rows.shape[:2]
    if width == 1:
        columns = columns or usual_columns(count, num_classes)
        return headed(grid(rows[:, 0], columns), columns, classes)
    strips = torch.stack([grid(row, width, gap=1) for row in rows])
    columns = columns or max(1, round((count * strips.shape[2] / strips.shape[3]) ** 0.5))
    return grid(strips, columns, min_side=1, gap=10)


def _key(config: dict[str, Any], run: Run) -> str:
    """Return a hash of all that the images depend on: settings, weights and code."""
    settings = {key: value for key, value in config.items() if key not in WITHOUT_EFFECT}
    settings["trainer"] = {key: value for key, value in config["trainer"].items() if key != "threads"}
    stat = (Path(config["run"]) / "checkpoints" / config["checkpoint"]).stat()
    everything = [settings, run.step, stat.st_size, stat.st_mtime_ns, version()]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]
