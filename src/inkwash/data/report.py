"""Report of a data set: how many images, where from, which classes and sizes, what is not used, what looks wrong."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkwash.data.decoded import extremes
from inkwash.data.facts import Facts, facts_of
from inkwash.data.images import Images
from inkwash.data.module import ImageDataModule
from inkwash.data.stream import Stream
from inkwash.data.suspicions import PAGED, copies_in, enlarged, leaks, odd_names
from inkwash.images import ImageSplit

LOOKED_AT = 256  # images whose levels are looked at
FEW = 10  # images of a class in training
NARROW = 64  # levels of 256
SHOWN = 12  # classes that the log names
log = logging.getLogger(__name__)


@dataclass
class SplitReport:
    """Facts about a split: see `Facts`.

    counts: number of images of each class, 0 .. K - 1; unlabelled: of images without a label.
    levels: smallest and largest level of the images looked at, 0..255; None for an empty split.
    copies: number of images that are equal to an earlier one; None if they were not compared.
    """

    images: int
    origin: str
    counts: list[int]
    unlabelled: int
    sizes: Any
    levels: tuple[int, int] | None
    copies: int | None
    passed_over: dict[str, Any]


@dataclass
class Report:
    """Report of a data set, as run.json stores it.

    classes: names of the labels, str(label) for those without a name.
    suspicious: sentences about what may be a mistake.
    used: the network is given the classes.
    """

    source: str
    classes: list[str]
    named: bool
    train: SplitReport
    heldout: SplitReport
    suspicious: list[str]
    used: bool = True

    def plain(self) -> dict[str, Any]:
        """Return the report as JSON has it, with its text, for pages that show it."""
        text = [*lines(self), *(f"warning  {sentence}" for sentence in self.suspicious)]
        return {**asdict(self), "text": text}


def report_of(data: ImageDataModule) -> Report:
    """Look at both splits of a data module."""
    loaded = {"train": data.train, "heldout": data.heldout}
    facts = {name: facts_of(split) for name, split in loaded.items()}
    names = facts["train"].classes.names or facts["heldout"].classes.names
    labels = {name: split.labels for name, split in loaded.items()}
    largest = max((int(y.max()) for y in labels.values() if len(y)), default=-1)
    count = max(len(names), largest + 1, data.num_classes or 0)
    classes = [names[label] if label < len(names) else str(label) for label in range(count)]
    samples = {name: some_of(split) for name, split in loaded.items()}
    train, heldout = (
        _split_report(loaded[name], labels[name], facts[name], samples[name], count) for name in ("train", "heldout")
    )
    report = Report(type(data.source).__name__, classes, bool(names), train, heldout, [], data.num_classes is not None)
    found = [*suspicions(report, data.num_classes, samples["train"])]
    found += [*odd_names(names), *leaks(*(digests_of(split) for split in loaded.values()))]
    found += enlarged(train.sizes[0] if train.sizes else None, data.shape)
    for name, split in loaded.items():
        more = [*facts[name].suspicious, *(split.suspicions(LOOKED_AT) if isinstance(split, Stream) else ())]
        paged = any(sentence.startswith(PAGED) for sentence in found)
        found += [sentence for sentence in more if not (paged and sentence.startswith(PAGED))]
    report.suspicious = [*dict.fromkeys(found)]  # of one place the same for both splits
    return report


def digests_of(split: ImageSplit) -> np.ndarray | None:
    """Return hashes of a split's images, (N,); None for a split whose images were not decoded in advance."""
    return split.digests if isinstance(split, Images) else None


def some_of(split: ImageSplit) -> Tensor:
    """Return up to 256 images spread over a split, uint8 (n, C, H, W); of a stream those of its first blocks."""
    count = min(LOOKED_AT, len(split))
    if count == 0:
        return torch.zeros(0, *split.shape, dtype=torch.uint8)
    together = isinstance(split, Stream)  # images here and there would read many blocks
    rows = range(count) if together else [i * len(split) // count for i in range(count)]
    return split.__getitems__(list(rows))[0]


def _split_report(split: ImageSplit, labels: Tensor, facts: Facts, sample: Tensor, classes: int) -> SplitReport:
    counts = torch.bincount(labels[labels >= 0], minlength=classes).tolist() if classes else []
    digests = digests_of(split)
    return SplitReport(
        images=len(split),
        origin=facts.origin,
        counts=counts,
        unlabelled=int((labels < 0).sum()),
        sizes=extremes(split.sizes(LOOKED_AT)) if isinstance(split, Stream) else facts.sizes,
        levels=(int(sample.min()), int(sample.max())) if len(sample) else None,
        copies=None if digests is None else copies_in(digests),
        passed_over={reason: asdict(tally) for reason, tally in facts.passed_over.items()},
    )


def suspicions(report: Report, num_classes: int | None, sample: Tensor) -> Iterator[str]:
    """Yield sentences about what may be a mistake in the data, or in the configuration of it."""
    counts, train = report.train.counts, report.train
    labelled = sum(counts)
    if train.levels and train.levels[1] - train.levels[0] < NARROW:
        low, high = train.levels
        yield (
            f"all levels lie between {low} and {high} of 0..255: the images may hold fewer bits than their files, as "
            "12-bit data in 16-bit files do; state their range with data.source.black=... and data.source.white=..."
        )
    if len(sample) > 1 and bool((sample == sample[0]).all()):
        yield f"the {len(sample)} images looked at are all the same: check data.path"
    if labelled and sum(count > 0 for count in counts) == 1:
        name = report.classes[counts.index(max(counts))]
        yield f"all labels are the same, {name}: check the labels, or the folder that data.path names"
    if labelled and train.unlabelled:
        yield f"{train.unlabelled:,} of {train.images:,} training images have no label"
    if num_classes is None:
        return
    missing = [name for name, count in zip(report.classes, counts, strict=True) if count == 0]
    if missing and labelled:
        yield f"classes without a training image: {_list(missing)} (of {len(counts)}), so their samples mean nothing"
    few = [f"{n} ({c})" for n, c in zip(report.classes, counts, strict=True) if 0 < c < FEW]
    if few and len(few) < len(counts):
        yield f"classes with fewer than {FEW} training images: {_list(few)}"


def lines(report: Report) -> Iterator[str]:
    """Yield the report as lines of text, without what is suspicious."""
    for name, split in (("train", report.train), ("heldout", report.heldout)):
        yield f"{name:<8} {split.images:,} image{'s' * (split.images != 1)}" + (
            f" from {split.origin}" if split.origin else ""
        )
        if details := ", ".join(_details(split)):
            yield f"         {details}"
    yield f"classes  {_classes(report)}"
    unused = {**report.heldout.passed_over, **report.train.passed_over}  # of one place the same for both splits
    for reason, tally in unused.items():
        more = ", ..." if tally["count"] > len(tally["first"]) else ""
        yield f"not used {tally['count']:,} {reason} ({', '.join(tally['first'])}{more})"


def _details(split: SplitReport) -> Iterator[str]:
    if split.sizes:
        low, high = (f"{height} x {width}" for height, width in split.sizes)
        yield f"{low} pixels" if low == high else f"{low} to {high} pixels (height x width) before scaling"
    if split.levels:
        yield "levels {} to {}".format(*split.levels)
    if split.copies:
        yield f"{split.copies:,} copies of others"
    if split.unlabelled:
        yield f"{split.unlabelled:,} without a label" if split.unlabelled < split.images else "no labels"


def _classes(report: Report) -> str:
    if not sum(report.train.counts) + sum(report.heldout.counts):
        return "none"
    counted = [f"{name} {count:,}" for name, count in zip(report.classes, report.train.counts, strict=True)]
    return f"{len(counted)}{'' if report.used else ', not used'}: {_list(counted, SHOWN)}"


def _list(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f", ... ({len(names)} in all)" if len(names) > shown else "")


def log_report(report: Report) -> None:
    """Write the report to the log; what is suspicious as warnings."""
    for line in lines(report):
        log.info("data         %s", line)
    for sentence in report.suspicious:
        log.warning("data         %s", sentence)
