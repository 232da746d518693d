"""The tables of docs/tasks/recipes.md, read from the comments at the top of conf/experiment/*.yaml.

A recipe of a paper says there, in sentences: what it is and whose, "Published FID ...", "Meant for ...", "Not measured
here." or "Measured here ...", and "What differs: ...".
"""

import re
from pathlib import Path
from typing import NamedTuple

from inkwash.config.paths import config_dir

FOLDER = Path(config_dir()) / "experiment"
TITLE = re.compile(r".*?\([^()]*? 20\d\d")  # up to the year of the paper
USUAL = "of 50,000 images against the training images"  # said once, above the table
SENTENCE = re.compile(r"(?<=\.) (?=[A-Z])")
# What a recipe asks for beside its name, and by what in its file one sees that.
ASKED = {
    "override /data: folder": "data.path=FOLDER",
    "autoencoder.path one with": "autoencoder.path=FOLDER",
    "pass init_from=NAME": "init_from=NAME",
}


class Recipe(NamedTuple):
    """A recipe, with what its header says of the paper; "" where it is of none."""

    name: str
    title: str
    published: str
    meant_for: str
    measured: str
    differs: str

    @property
    def asked(self) -> list[str]:
        """The overrides that it needs."""
        text = " ".join((FOLDER / f"{self.name}.yaml").read_text("utf-8").split())
        return [override for sign, override in ASKED.items() if sign in text]


def recipes() -> list[Recipe]:
    """Return all recipes, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def header(name: str) -> list[str]:
    """Return the lines of the comment at the top of a recipe, without `# ` and without the package's line."""
    lines = (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines()
    comments = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    return [line.removeprefix("#").removeprefix(" ") for line in comments if not line.startswith("# @package")]


def page() -> str:
    """Return the recipes of papers as a table, and the others as a second one."""
    found = recipes()
    papers = [
        (_linked(r), r.title, r.published, r.meant_for, "no" if r.measured.startswith("Not") else r.measured)
        for r in found
        if r.published
    ]
    others = [(_linked(r), r.title) for r in found if not r.published]
    return "\n\n".join([
        _table(("`experiment=`", "paper", "published FID", "meant for", "measured here"), papers),
        "## The others",
        "They are for small images, or our own choice.",
        _table(("`experiment=`", ""), others),
    ])  # fmt: skip


def _read(path: Path) -> Recipe:
    prose = " ".join(line for line in header(path.stem) if not line.startswith(" "))
    about, _, differs = prose.partition("What differs: ")
    sentences = SENTENCE.split(about)

    def said(*starts: str) -> str:
        return next((s for s in sentences if s.startswith(starts)), "").rstrip()

    published, meant_for = (said(word).removeprefix(word).strip(" .") for word in ("Published FID", "Meant for"))
    found = TITLE.match(sentences[0]) if published else None
    title = found[0] + ")" if found else sentences[0].rstrip(".:")
    measured = said("Not measured here", "Measured here").rstrip(".")
    return Recipe(path.stem, title, published.removeprefix(USUAL).lstrip(" :,"), meant_for, measured, differs)


def _linked(recipe: Recipe) -> str:
    """Return the name as a link to the recipe's keys in the reference of conf/, and below it what it needs."""
    link = f"[`{recipe.name}`](../reference/conf.md#experiment{recipe.name})"
    return "<br>".join([link, *(f"`{override}`" for override in recipe.asked)])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
