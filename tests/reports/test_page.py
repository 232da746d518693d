"""A page is one file: nothing in it is fetched, and no text in it is code."""

import base64
import gzip
import html
import json
import re
from itertools import pairwise

import pytest
from plotly.offline import get_plotlyjs

from inkwash.reports import figures
from inkwash.reports.page import (
    Cell,
    Code,
    Facts,
    Notes,
    Page,
    Section,
    Table,
    number,
    packed_plotly,
    render,
    write_page,
)

EVIL = '</script><script>alert("x")</script><img src=http://example.org/x.png onerror=alert(1)> & "quoted"'


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.33161, "1.332"), (9999.4, "9999"), (9999.6, "10,000"), (13886.2, "13,886"), (-25000.0, "-25,000"),
     (1.5e7, "1.5e+07"), (1e-5, "1e-05"), (164689, "164,689"), (12345678, "12,345,678"), (None, "")],
)  # fmt: skip
def test_numbers_have_four_digits_and_no_needless_exponent(value, text):
    assert number(value) == text


def a_page(text, **more):
    chart = figures.curves(text, {text: ([1, 2], [0.5, 0.25])}, text, {text: 0.1})
    table = Table(text, [text], [[text], [Cell(text, 1.0)]], text, True)
    blocks = [chart, table, Facts(text, {text: text}), Code(text, text), Notes(text, [text])]
    head = [text], [(text, text, text)], [text]
    return Page(text, text, "finished", *head, [Section(text, "one", blocks, text)], **more)


def test_text_is_never_code():
    page = render(a_page(EVIL))
    ours = re.sub(r'<script type="application/gzip".*?</script>', "", page, flags=re.DOTALL)
    assert "<script>alert" not in ours
    assert "<img src=http" not in ours
    assert page.count("</script>") == page.count("<script")
    inner = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(inner[0])["data"][0]["name"] == html.escape(EVIL, quote=False)


def test_nothing_is_fetched():
    page = render(a_page("text"))
    own = page[: page.index('<script type="application/gzip"')]
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", own)
    assert "url(" not in own
    assert "default-src 'none'" in own
    assert "connect-src" not in own


def test_plotly_is_whole_and_packed_once():
    assert gzip.decompress(base64.b64decode(packed_plotly())).decode() == get_plotlyjs()
    page = render(a_page("text"))
    assert page.count(packed_plotly()) == 1
    assert len(page) < 2_500_000


def test_a_page_without_charts_has_no_plotly():
    page = render(Page("a", "b", sections=[Section("c", "d", [Notes("e", ["f"])])]))
    assert len(page) < 30_000


def test_every_chart_and_heading_can_be_read_aloud():
    page = render(a_page("text"))
    assert page.count('role="img" aria-label="text: ') == page.count('class="plot"')
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_a_page_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_page(path, Page("first", "x"))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_page(path, Page("second", "x"))
    assert "first" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_letters_that_are_not_utf8_do_not_stop_a_page(tmp_path):
    write_page(tmp_path / "report.html", Page("a \udcff name", "x"))
    assert "a \\udcff name" in (tmp_path / "report.html").read_text()
