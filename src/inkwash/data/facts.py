"""Facts that a source found about a split while it loaded it, for the report (report.py)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from inkwash.data.labels import Classes

FIRST = 3  # names that a report gives of each kind


@dataclass
class Tally:
    """A number of files or images, and the names of the first ones."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str, count: int = 1) -> None:
        self.count += count
        if len(self.first) < FIRST:
            self.first.append(name)

    def __str__(self) -> str:
        names = ", ".join(self.first)
        return f"{self.count:,} ({names}{', ...' if self.count > len(self.first) else ''})"


PassedOver = dict[str, Tally]  # by the reason


def note(passed_over: PassedOver, reason: str, name: str) -> None:
    """Count a file that is not used."""
    passed_over.setdefault(reason, Tally()).add(name)


def tally_of(names: Iterable[str]) -> Tally:
    """Count names."""
    tally = Tally()
    for name in names:
        tally.add(name)
    return tally


def merged(parts: Iterable[Mapping[str, Tally]]) -> PassedOver:
    """Add the tallies of several files."""
    total: PassedOver = {}
    for part in parts:
        for reason, tally in part.items():
            whole = total.setdefault(reason, Tally())
            whole.count += tally.count
            whole.first = (whole.first + tally.first)[:FIRST]
    return total


@dataclass(frozen=True)
class Facts:
    """What a source found.

    Attributes:
        origin: where the split comes from, in words.
        classes: names of the labels, those of both splits.
        passed_over: files and images that are not used, by the reason.
        sizes: ((least height, least width), (largest height, largest width)) of images before scaling; None if they
            were not looked at.
        suspicious: sentences about what may be a mistake.
    """

    origin: str = ""
    classes: Classes = field(default_factory=Classes)
    passed_over: PassedOver = field(default_factory=dict)
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    suspicious: tuple[str, ...] = ()

    def without(self, skipped: PassedOver, sizes: Any, suspicious: tuple[str, ...] = ()) -> "Facts":
        """Return the facts with images that were skipped while decoding, and what was found then."""
        passed_over = merged([self.passed_over, skipped])
        return replace(self, passed_over=passed_over, sizes=sizes, suspicious=(*self.suspicious, *suspicious))


def facts_of(split: object) -> Facts:
    """Return the facts of a split, empty ones for a split of another package's source."""
    found = getattr(split, "facts", None)
    return found if isinstance(found, Facts) else Facts()
