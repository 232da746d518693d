"""Pages in a real browser: no error, no request, sliders move, tables sort, on a phone and in the dark."""

import shutil
import time

import pytest
from tests.reports.test_evaluation_report import RESULTS
from tests.reports.test_run_facts import SCHEDULES
from tests.reports.test_sweep_report import a_sweep

from inkwash.reports.comparison import write_comparison
from inkwash.reports.evaluation_report import write_evaluation_report
from inkwash.reports.run_report import write_run_report
from inkwash.reports.sweep_report import write_sweep_report
from inkwash.runs.directory import RunDirectory
from support import browser
from support.selection import mostly_slow

reason = browser.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


@pytest.fixture(scope="module")
def pages(filled, tmp_path_factory):
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    run = RunDirectory(shutil.copytree(filled, folder / "run"))
    (run.report_folder / "schedules.json").write_text(SCHEDULES)
    write_run_report(run)
    (folder / "mine").mkdir()
    write_sweep_report(a_sweep(folder))
    write_evaluation_report(folder / "evaluation.html", "mine", RESULTS)
    write_comparison(folder / "comparison.html", [run, RunDirectory(filled)])
    return {
        "run": run.report_path, "sweep": folder / "mine" / "report.html", "evaluation": folder / "evaluation.html",
        "comparison": folder / "comparison.html",
    }  # fmt: skip


@pytest.fixture(scope="module")
def desktop():
    with browser.browser() as driver:
        yield driver


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("kind", mostly_slow(["run", "sweep", "evaluation", "comparison"], "run", "sweep"))
def test_every_chart_is_drawn_without_a_word_or_a_request(desktop, pages, kind):
    browser.complaints(desktop)
    browser.requests(desktop)
    browser.visit(desktop, pages[kind])
    drawn = desktop.execute_script("return [...document.querySelectorAll('.plot')].map(p => !!p.querySelector('svg'))")
    assert drawn
    assert all(drawn)
    assert browser.complaints(desktop) == []
    assert browser.requests(desktop) == [pages[kind].resolve().as_uri()]


def test_a_slider_shows_another_picture_and_says_which(desktop, pages):
    from selenium.webdriver.common.keys import Keys

    browser.visit(desktop, pages["run"])
    book = desktop.find_element("css selector", ".flipbook")
    slider, image, output = (book.find_element("css selector", name) for name in ("input", "img", "output"))
    last = image.get_attribute("src")
    assert output.text == "step 30"
    slider.send_keys(Keys.ARROW_LEFT)  # as a keyboard does
    assert output.text == "step 20"
    assert slider.get_attribute("aria-valuetext") == "step 20"
    assert image.get_attribute("src") != last
    assert "at step 20" in image.get_attribute("alt")
    slider.send_keys(Keys.HOME)
    assert output.text == "step 10"
    slider.send_keys(Keys.END)
    assert image.get_attribute("src") == last


def test_an_animation_plays_to_its_end_and_stops(desktop, pages):
    browser.visit(desktop, pages["run"])
    book = desktop.find_element("css selector", "#reverse .flipbook")
    button, output = (book.find_element("css selector", name) for name in (".play", "output"))
    watch = (
        "window.seen = []; new MutationObserver(() => window.seen.push(arguments[0].textContent))"
        ".observe(arguments[0], { childList: true }); arguments[1].click()"
    )
    desktop.execute_script(watch, output, button)
    assert (button.text, button.get_attribute("aria-pressed")) == ("Pause", "true")
    for _ in range(200):
        if button.text == "Play":
            break
        time.sleep(0.05)
    assert button.get_attribute("aria-pressed") == "false"
    shown = desktop.execute_script("return window.seen")
    assert shown == ["t = 1000, log SNR -19.8", "t = 500, log SNR 0", "data, t = 0"]
    assert output.text == "data, t = 0"


def test_a_table_sorts_by_number_and_by_word_with_missing_values_last(desktop, pages):
    browser.visit(desktop, pages["sweep"])

    def column(index):
        rows = (
            "return [...document.querySelectorAll('.sortable tbody tr')]"
            ".map(row => row.cells[arguments[0]].textContent.trim())"
        )
        return desktop.execute_script(rows, index)

    heads = desktop.find_elements("css selector", ".sortable th")
    names = [head.text.split(" ")[0] for head in heads]
    value, word = names.index("fd"), names.index("prediction")
    click = "arguments[0].querySelector('button').click()"
    assert column(value) == ["1", "1.5", "7", "9", ""]
    desktop.execute_script(click, heads[value])
    assert heads[value].get_attribute("aria-sort") == "ascending"
    desktop.execute_script(click, heads[value])
    assert column(value) == ["9", "7", "1.5", "1", ""]
    assert heads[value].get_attribute("aria-sort") == "descending"
    desktop.execute_script(click, heads[word])
    assert column(word) == ["eps", "eps", "eps", "v", "v"]
    assert heads[value].get_attribute("aria-sort") is None


def test_everything_has_a_name_that_is_read_aloud(desktop, pages):
    browser.visit(desktop, pages["run"])
    tree = desktop.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if not node["ignored"] and node["role"]["value"] in ("image", "slider", "button", "table", "figure", "heading")
    ]
    assert len(named) > 30
    assert [role for role, name in named if not name] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(["run", "sweep", "evaluation", "comparison"], "run", "sweep"))
def test_a_phone_shows_it_without_scrolling_sideways(pages, kind):
    with browser.browser(390, 844) as driver:
        browser.visit(driver, pages[kind])
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        small = (
            "return [...document.querySelectorAll('p, td, th, dd')]"
            ".filter(text => parseFloat(getComputedStyle(text).fontSize) < 12)"
        )
        assert driver.execute_script(small) == []
        assert browser.complaints(driver) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_no_word_of_a_chart_is_cut_and_no_table_of_a_run_is_wider_than_a_desktop(pages, width):
    cut = """return [...document.querySelectorAll('.plot')].flatMap(plot => {
        const box = plot.getBoundingClientRect();
        return [...plot.querySelectorAll('text')].filter(text => {
            const own = text.getBoundingClientRect();
            return own.width && (own.left < box.left - 1 || own.right > box.right + 1);
        }).map(text => text.textContent);
    })"""
    wide = """return [...document.querySelectorAll('.scroll, nav ul')]
        .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.ariaLabel ?? box.textContent)"""
    with browser.browser(width, 900) as driver:
        for kind in ("run", "sweep", "evaluation", "comparison"):
            browser.visit(driver, pages[kind])
            assert driver.execute_script(cut) == [], kind
        if width == 1440:
            browser.visit(driver, pages["run"])
            assert driver.execute_script(wide) == []


@pytest.mark.slow
def test_the_dark_changes_page_and_charts(pages):
    found = {}
    colours = (
        "return [getComputedStyle(document.body).backgroundColor, "
        "getComputedStyle(document.querySelector('.plot .xtick text')).fill]"
    )
    for dark in (False, True):
        with browser.browser(dark=dark) as driver:
            browser.visit(driver, pages["run"])
            found[dark] = [brightness(colour) for colour in driver.execute_script(colours)]
    assert found[False][0] > 200 > found[False][1]
    assert found[True][0] < 60 < 150 < found[True][1]


def brightness(colour):
    """Mean of 'rgb(r, g, b)'."""
    numbers = colour[colour.index("(") + 1 : -1].split(",")[:3]
    return sum(float(number) for number in numbers) / 3


@pytest.mark.slow
def test_it_prints(desktop, pages):
    browser.visit(desktop, pages["run"])
    printed = desktop.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(printed["data"]) > 50_000
