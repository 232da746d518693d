"""A self-contained page: one HTML file with its pictures, charts and scripts, which needs no network.

A page is sections of blocks: charts (plotly), flipbooks (pictures with a slider), pictures, tables, facts and code.
assets/page.html.j2 says how each looks, page.css in which colours, page.js what moves. Plotly's own script is packed
(gzip, base64: 2 MB instead of 4.8) and unpacked by the browser; the page's policy forbids it every connection.
"""

import base64
import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from inkwash.files import NAMES, writing
from inkwash.reports.pictures import Picture

ASSETS = Path(__file__).parent / "assets"


@dataclass
class Chart:
    """A figure of plotly.

    Attributes:
        figure: plotly.graph_objects.Figure.
        text: what it shows, in a sentence with numbers: its caption, and what a screen reader reads.
        wide: True for the whole width of the page.
    """

    title: str
    figure: Any
    text: str
    height: int = 340
    wide: bool = False
    kind: str = "chart"

    @property
    def json(self) -> str:
        return for_script(self.figure.to_json())


@dataclass
class Flipbook:
    """Pictures of one size, one at a time: a slider, and a button that plays them.

    Attributes:
        frames: (label, picture) of each; the last is shown first.
        of: what the slider moves through, `step` for example.
    """

    title: str
    frames: Sequence[tuple[str, Picture]]
    of: str
    text: str = ""
    columns: Sequence[str] = ()
    kind: str = "flipbook"

    @property
    def last(self) -> Picture:
        return self.frames[-1][1]

    @property
    def json(self) -> str:
        return for_script(json.dumps([[label, shown.uri, shown.alt] for label, shown in self.frames]))


@dataclass
class Shown:
    """Pictures that stand still, one below the other, with names above equal parts of their width.

    Attributes:
        parts: the name and the picture of each.
        columns: the names above; () for none.
    """

    title: str
    parts: Sequence[tuple[str, Picture]]
    text: str = ""
    columns: Sequence[str] = ()
    kind: str = "shown"


@dataclass
class Cell:
    """A cell of a table: text, and what it is sorted by, where it leads, or a picture."""

    text: str
    value: float | str | None = None
    link: str | None = None
    picture: Picture | None = None

    @property
    def key(self) -> str:
        return "" if self.value is None else str(self.value)


@dataclass
class Table:
    """A table; with `sortable` its headings sort it.

    Attributes:
        rows: of cells, or plain values.
        marked: index of the row that is best.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    text: str = ""
    sortable: bool = False
    marked: int | None = None
    kind: str = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        return [[value if isinstance(value, Cell) else cell(value) for value in row] for row in self.rows]


@dataclass
class Facts:
    """Names and values."""

    title: str
    facts: dict[str, Any]
    kind: str = "facts"


@dataclass
class Code:
    """Lines to copy."""

    title: str
    lines: str
    text: str = ""
    kind: str = "code"


@dataclass
class Notes:
    """Sentences, each a paragraph."""

    title: str
    sentences: Sequence[str]
    kind: str = "notes"


@dataclass
class Section:
    """A part of the page with a heading.

    Attributes:
        name: of its anchor.
    """

    title: str
    name: str
    blocks: list[Any]
    intro: str = ""


@dataclass
class Page:
    """Content of a page: its title, its sections, and what is missing.

    Attributes:
        state: one word: running, finished, failed, ...
        lead: sentences below the title.
        figures: large numbers: (name, value, remark) of each.
        missing: sentences about what the page cannot show.
    """

    title: str
    what: str
    state: str = ""
    lead: Sequence[str] = ()
    figures: Sequence[tuple[str, str, str]] = ()
    missing: Sequence[str] = ()
    sections: list[Section] = field(default_factory=list)


def cell(value: Any) -> Cell:
    """Return a plain value as a cell: numbers with four digits, sorted by their value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("" if value is None else str(value), None if value is None else str(value))
    return Cell(number(value), value)


def number(value: float | None) -> str:
    """Format a number with four digits, whole ones and those below ten million with all before the point."""
    if value is None:
        return ""
    whole = isinstance(value, int) or 9999.5 <= abs(value) < 1e7
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def for_script(text: str) -> str:
    """Escape JSON for a script element, which `</script>` would end, and `<!--` open again."""
    return text.replace("<", "\\u003c")


@cache
def packed_plotly() -> str:
    """Return plotly's script, gzip in base64."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()


def render(page: Page) -> str:
    """Return the page as HTML."""
    # Imported here: a training that writes no page pays nothing.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    charts = any(block.kind == "chart" for section in page.sections for block in section.blocks)
    return environment.get_template("page.html.j2").render(
        page=page,
        raw=Markup,
        css=Markup((ASSETS / "page.css").read_text("utf-8")),
        script=Markup((ASSETS / "page.js").read_text("utf-8")),
        plotly=packed_plotly() if charts else "",
        now=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def write_page(path: Path, page: Page) -> None:
    """Write a page whole or not at all; a training and a command may write the same one at the same time."""
    text = render(page)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with writing(partial):
        partial.write_text(text, "utf-8", NAMES)
        os.replace(partial, path)
