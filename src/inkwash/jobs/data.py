"""Describe: what the process of `inkwash data` runs."""

from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from inkwash.config.instantiate import build
from inkwash.data.images import Flipped
from inkwash.data.module import ImageDataModule
from inkwash.data.report import Report, report_of
from inkwash.files import write_json
from inkwash.launch.report import say
from inkwash.reports.headings import with_headings
from inkwash.reports.image_grid import grid, save_png
from inkwash.runs import config_file

COLUMNS, ROWS = 10, 8
MANY = 24  # classes that fit side by side
LOOKED_AT = 5000  # images among which some of each class are looked for


def describe(directory: Path) -> None:
    """Print the report of the data set of directory/data.yaml; write report.json and grid.png there."""
    config = config_file.load(directory / "data.yaml")
    data = build(config["data"])
    data.setup()
    report = report_of(data)
    plain = report.plain()
    say("\n".join(plain["text"]))
    if data.num_classes is None and sum(report.train.counts):
        say(f"classes are not used; to train with them: data.num_classes={len(report.classes)}")
    write_json(directory / "report.json", plain)
    save_png(picture(data, report), directory / "grid.png")


def picture(data: ImageDataModule, report: Report) -> Tensor:
    """Return a grid of training images, uint8 (3, height, width): a column for each class, if there are a few.

    Of each class the first images in the order of the first epoch are shown, mirrored as they are trained on.
    """
    images = Flipped(data.train) if data.flip else data.train
    order = islice(images.order(data.seed, 0), LOOKED_AT)
    classes = len(report.classes) if sum(report.train.counts) else 0
    if not 1 < classes <= MANY:
        return grid(images.__getitems__(sorted(islice(order, ROWS * COLUMNS)))[0], COLUMNS)
    labels, chosen = data.train.labels, [[] for _ in range(classes)]
    for index in order:
        label = int(labels[index % len(labels)])
        if label >= 0 and len(chosen[label]) < ROWS:
            chosen[label].append(index)
    sheet = torch.full((ROWS, classes, *data.shape), 255, dtype=torch.uint8)
    for label, column in enumerate(chosen):
        if column:
            sheet[: len(column), label] = images.__getitems__(sorted(column))[0]
    return with_headings(grid(sheet.flatten(0, 1), classes), report.classes)
