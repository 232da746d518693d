"""A study: trainings that differ in one thing, with several seeds, and how each is measured."""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from inkwash.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "experiments" / "studies"
OF_ROW = "=row:"


def name_of(words: Sequence[str]) -> str:
    """Name what a command makes by its words."""
    return f"lab-{hashlib.sha256(shlex.join(words).encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Training:
    """One run of a study.

    Attributes:
        row, seed: its place in the study.
        words: of `inkwash train`, without the run's name.
        source: the training of another row whose weights it takes, if any.
    """

    row: str
    seed: int
    words: tuple[str, ...]
    source: "Training | None" = None

    @property
    def run(self) -> str:
        """Name of the run; the same training in two studies is one run."""
        return name_of(self.words)


@dataclass(frozen=True)
class Study:
    """The content of a study.yaml.

    Attributes:
        title, question: what is compared, and why; with the source of the claim.
        recipe: overrides of every training.
        rows: name of a row -> the overrides that make it; init_from=row:NAME and autoencoder.path=row:NAME take the run
            of another row with the same seed.
        seeds: of trainings and of their samples.
        evaluate: overrides of `inkwash evaluate`, lists with commas among them: each makes further values of every
            training. Without any, the values are those that the training ends with.
        varied: keys of their overrides that tell the evaluations of a training apart.
        metrics: values to show, the first of which is plotted, by their names' beginnings: fd, accuracy, bits_per_dim.
        baseline: a row, from whose main metric that of each other one is told apart, seed by seed: trainings with one
            seed have the images' order and the noise in common, so that differences vary less than values.
        plot: `x`, a key of the rows' overrides or of `varied`, `log` (of the metric) and `log_x`; without x the rows
            stand one above the other.
        shows, failed: what was seen, and what did not work: one paragraph each.
        found: what was seen in one sentence, for the list of all studies.
        grids: whether the page has the last grid of samples of each row's first seed.
        boards: board of the leaderboard -> the rows that stand there, [] for all; or {rows: [...], where: {...}}, to
            take only the evaluations with these values of the varied settings.
    """

    name: str
    title: str
    question: str
    recipe: Sequence[str]
    rows: dict[str, Sequence[str]]
    seeds: Sequence[int] = (0, 1, 2)
    evaluate: Sequence[Sequence[str]] = ()
    varied: Sequence[str] = ()
    metrics: Sequence[str] = ("fd", "accuracy")
    baseline: str = ""
    plot: dict[str, Any] = field(default_factory=dict)
    found: str = ""
    shows: str = ""
    failed: str = ""
    grids: bool = False
    boards: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, studies: Path = STUDIES) -> "Study":
        """Read a study by the name of its folder. Raises UserError if there is none, or it has unknown keys."""
        path = studies / name / "study.yaml"
        if not path.exists():
            there = ", ".join(sorted(each.parent.name for each in studies.glob("*/study.yaml")))
            raise UserError(f"study={name} is none of {there or 'no studies'}: write {path}")
        content = yaml.safe_load(path.read_text())
        known = {each.name for each in fields(cls)} - {"name"}
        if wrong := set(content) - known:
            raise UserError(f"{path}: {', '.join(sorted(wrong))}: a study has the keys {', '.join(sorted(known))}")
        return cls(name=name, **content)

    def training(self, row: str, seed: int) -> Training:
        """Return the training of a row with a seed, any seed."""
        if row not in self.rows:
            raise UserError(f"recipe={self.name}/{row}: the study has the rows {'; '.join(self.rows)}")
        words, source = [], None
        for word in (*self.recipe, *self.rows[row]):
            key, is_reference, name = word.partition(OF_ROW)
            if is_reference:
                source = self.training(name, seed)
                word = f"{key}={source.run}"
            words.append(word)
        words += [f"seed={seed}", f"callbacks.evaluation.seed={seed}"]
        return Training(row, seed, tuple(words), source)

    def trainings(self) -> list[Training]:
        """Return all trainings, one seed after the other: a study that is stopped has whole seeds."""
        return [self.training(row, seed) for seed in self.seeds for row in self.rows]

    def command(self, row: str) -> str:
        """Return what to type for a row; another row's run has that row's name in it."""
        words = [word.replace(OF_ROW, "=") for word in (*self.recipe, *self.rows[row])]
        return shlex.join(["inkwash", "train", *words])


def all_studies(studies: Path = STUDIES) -> list[Study]:
    """Return every study of the lab book, by name."""
    return [Study.load(path.parent.name, studies) for path in sorted(studies.glob("*/study.yaml"))]
