"""The page of an evaluation: quality against network evaluations, with intervals, and every protocol."""

import pytest

from inkwash.reports.evaluation_report import evaluation_page, quality_chart, write_evaluation_report
from inkwash.reports.page import Chart
from support.evaluations import cell


def result(name, sampler, steps, seed, fd, interval=True):
    ends = {"fd_low_eyes_100": fd - 0.5, "fd_high_eyes_100": fd + 1} if interval else {}
    record = {"value": fd, "n_fake": 100, "extractor": "eyes", "sampler": sampler, "steps": steps, "seed": seed}
    records = {
        "fd_eyes_100": {**record, "lower_is_better": True, "notes": ["100 images are few"], "protocol": {"k": 3}},
        **{end: {**record, "lower_is_better": None} for end in ends},
    }
    return cell(name, sampler, steps, seed, {"fd_eyes_100": fd, **ends}, records)


RESULTS = [
    result("sampler=ddim steps=10", "DDIM", 10, 0, 3.0),
    result("sampler=ddim steps=20", "DDIM", 20, 0, 2.0),
    result("sampler=heun steps=20", "Heun", 20, 0, 1.0),
]


def test_quality_has_a_line_for_each_sampler_with_intervals():
    chart = quality_chart("fd_eyes_100", True, RESULTS)
    lines = {trace.name: trace for trace in chart.figure.data}
    assert set(lines) == {"sampler=ddim", "sampler=heun"}
    ddim = lines["sampler=ddim"]
    assert (ddim.x, ddim.y) == ((10, 20), (3.0, 2.0))
    assert (ddim.error_y.array, ddim.error_y.arrayminus) == ((1.0, 1.0), (0.5, 0.5))
    assert "Best: sampler=ddim with 2 at 20 evaluations; sampler=heun with 1 at 20 evaluations." in chart.text


def test_without_intervals_the_bars_are_the_range_over_seeds():
    seeds = [result(f"seed={s}", "DDIM", 10, s, 3.0 + s, interval=False) for s in range(3)]
    chart = quality_chart("fd_eyes_100", True, seeds)
    (line,) = chart.figure.data
    assert (line.name, line.y) == ("DDIM", (4.0,))
    assert (line.error_y.array, line.error_y.arrayminus) == ((1.0,), (1.0,))
    assert "mean over seeds" in chart.text


def test_settings_are_not_averaged_as_if_they_were_seeds():
    settings = ["weights=ema", "weights=raw", "sampler.eta=0", "sampler.eta=1", "checkpoint=last.ckpt"]
    cells = [result(f"{name} spacing.steps=5", "DDIM", 5, 0, float(i), False) for i, name in enumerate(settings)]
    chart = quality_chart("fd_eyes_100", True, cells)
    assert {trace.name: trace.y for trace in chart.figure.data} == {n: (float(i),) for i, n in enumerate(settings)}
    assert "Bars" not in chart.text
    assert "seeds" not in chart.text


def test_every_value_has_its_protocol(tmp_path):
    page = evaluation_page("mine", RESULTS)
    sections = {section.name: section.blocks for section in page.sections}
    assert [chart.title for chart in sections["quality"] if isinstance(chart, Chart)] == ["fd_eyes_100"]
    (table,) = sections["protocol"]
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert set(rows) == {"fd_eyes_100", "fd_low_eyes_100", "fd_high_eyes_100"}
    assert rows["fd_eyes_100"]["sampler"] == "DDIM, Heun"
    assert rows["fd_eyes_100"]["n_fake"] == "100"
    assert rows["fd_eyes_100"]["settings of the metric"] == "k=3"
    assert rows["fd_eyes_100"]["notes"] == "100 images are few"
    assert all("Bars:" in chart.text for chart in sections["quality"])
    assert page.figures == [("fd_eyes_100", "1", "sampler=heun steps=20")]
    write_evaluation_report(tmp_path / "report.html", "mine", RESULTS)
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_numbers_of_images_are_apart_and_each_has_its_headline():
    """Whatever comes first, a result without the metric that decides too."""
    none = cell("none", "DDIM", 10, 0, {"bits_per_dim": 3.0}, {"bits_per_dim": {"lower_is_better": None}})
    more = {**cell("more", "DDIM", 10, 0, {"fd_eyes_1000": 0.5}, {}), "num_images": 1000}
    page = evaluation_page("mine", [none, *RESULTS, more])
    assert page.figures == [
        ("fd_eyes_100", "1", "sampler=heun steps=20"), ("fd_eyes_1000", "0.5", "more"), ("bits_per_dim", "3", "none"),
    ]  # fmt: skip
    assert page.lead == ["5 measurements, the best first by fd_eyes_100, then fd_eyes_1000, then bits_per_dim"]
    table = next(section for section in page.sections if section.name == "table").blocks[0]
    assert [row[0] for row in table.rows][-2:] == ["more", "none"]
    assert "do not compare" in table.text
    one = evaluation_page("mine", RESULTS)
    assert one.lead == ["3 measurements, the best first by fd_eyes_100"]
    assert "compare" not in next(section for section in one.sections if section.name == "table").blocks[0].text


@pytest.mark.parametrize("results", [[], [{**RESULTS[0], "metrics": {}, "records": {}}]])
def test_nothing_measured_is_said(results):
    assert evaluation_page("mine", results).missing == ["no value that has a best was measured"]


def test_images_from_elsewhere_have_no_sampler():
    odd = {**RESULTS[0], "sampler": "images", "steps": None, "guidance": None, "evaluations": None}
    chart = quality_chart("fd_eyes_100", True, [odd])
    assert chart.figure.data[0].x == (0,)
    assert "evaluations" not in chart.text


def test_a_chart_without_bars_says_nothing_of_them():
    single = {**RESULTS[0], "metrics": {"fd_eyes_100": 1.0}}
    assert "Bars:" not in quality_chart("fd_eyes_100", True, [single]).text
