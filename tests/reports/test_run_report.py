"""The page of a run shows what there is, and says what there is not."""

import json
import re
import shutil

import pytest

from inkwash.files import read_json
from inkwash.reports.page import Chart, Code, Flipbook, Shown, Table
from inkwash.reports.run_report import BROKEN, run_page, write_run_report
from inkwash.runs.directory import RunDirectory
from support.runs import composed


@pytest.fixture
def run(filled, tmp_path):
    """A copy of a finished run, to damage."""
    return RunDirectory(shutil.copytree(filled, tmp_path / "mine"))


def sections(page):
    assert not [sentence for sentence in page.missing if BROKEN in sentence], page.missing
    return {section.name: section.blocks for section in page.sections}


def charts(blocks):
    return {block.title: block for block in blocks if isinstance(block, Chart)}


def table(blocks, title):
    return next(block for block in blocks if isinstance(block, Table) and block.title == title)


def test_everything_a_finished_run_has_is_shown(run):
    page = run_page(run)
    found = sections(page)
    assert page.missing == []
    assert list(found) == [
        "samples", "curves", "noise", "classes", "reverse", "forward", "neighbours", "speed", "data", "configuration",
        "again",
    ]  # fmt: skip
    assert page.state == "finished"
    assert page.figures[0] == ("fd_classifier_64", "53.33", "real images: 3.5")


def test_a_run_that_was_killed_is_called_so(run):
    assert run_page(run, killed=True).state == "finished"  # it was not
    run.write_status("running")
    assert run_page(run).state == "running"
    page = run_page(run, killed=True)
    assert page.state == "killed"
    assert page.lead[-1] == "It was killed. `make resume` goes on from its last checkpoint."


def test_a_metric_is_drawn_with_the_floor_of_real_images(run):
    chart = charts(sections(run_page(run))["curves"])["fd_classifier_64"]
    (line,) = chart.figure.data
    assert line.x == (10, 20, 30)
    assert line.y == pytest.approx((60.0, 55.0, 53.333333))
    assert [shape.y0 for shape in chart.figure.layout.shapes] == [3.5]
    assert chart.text.startswith("Less is better.")


def test_what_a_value_suffers_from_stands_above_its_table(run):
    (table,) = [block for block in sections(run_page(run))["curves"] if block.kind == "table"]
    assert table.text == "fd_classifier_64: 64 are few."


def test_losses_share_a_chart(run):
    chart = charts(sections(run_page(run))["curves"])["Loss"]
    assert [trace.name for trace in chart.figure.data] == ["training loss", "held-out loss"]


def test_the_slider_moves_through_the_grids(run):
    (book,) = sections(run_page(run))["samples"]
    assert isinstance(book, Flipbook)
    assert [label for label, _ in book.frames] == ["step 10", "step 20", "step 30"]
    assert len({shown.uri for _, shown in book.frames}) == 3
    assert book.columns == list("0123456789")


def test_both_processes_are_strips_and_animations(run):
    found = sections(run_page(run))
    for name, rows in (("forward", ["step by step", "in closed form"]), ("reverse", ["x_t", "predicted x_0"])):
        strip, moving = found[name][:2]
        assert isinstance(strip, Shown)
        assert [part for part, _ in strip.parts] == rows
        assert isinstance(moving, Flipbook)
    assert [label for label, _ in found["reverse"][1].frames][-1] == "data, t = 0"


def test_time_shares_add_up_to_the_whole(run):
    chart = charts(sections(run_page(run))["speed"])["Where the time went"]
    assert [bar.x[0] for bar in chart.figure.data] == [50.0, 6.0, 4.0]


def test_the_data_report_tells_what_was_passed_over(run):
    blocks = sections(run_page(run))["data"]
    assert table(blocks, "Passed over").rows == [["no image", 3, "a.txt, b.txt"]]
    assert blocks[0].sentences == ["all images look alike"]


def test_the_configuration_is_shown_as_a_difference(run):
    shown = table(sections(run_page(run))["configuration"], "Different from the defaults").rows
    rows = {key: (old, new) for key, old, new in shown}
    assert rows["trainer.max_steps"] == (str(composed()["trainer"]["max_steps"]), "30")
    assert "model.channels" not in rows
    assert "data.shape" not in rows


def test_the_difference_is_that_of_the_code_that_trained(run):
    run_page(run)
    stored = read_json(run.report_folder / "config.json")
    stored["difference"].append(["some.key", 1, 2])
    (run.report_folder / "config.json").write_text(json.dumps(stored))
    rows = table(sections(run_page(run))["configuration"], "Different from the defaults").rows
    assert ["some.key", "1", "2"] in rows


def test_a_run_without_a_checkpoint_is_not_to_be_drawn_with(run):
    titles = [block.title for block in sections(run_page(run))["again"]]
    assert titles == ["Made with", "Train it again", "Write this page anew"]


def test_it_says_how_to_run_it_again(run):
    run.checkpoints.path.mkdir()
    run.checkpoints.of_step(30).touch()
    lines = "\n".join(block.lines for block in sections(run_page(run))["again"] if isinstance(block, Code))
    assert "inkwash train logger=csv trainer.max_steps=30" in lines
    assert f"make sample run={run}" in lines


# --- What is missing or damaged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml", "run.json", "status.json", "summary.json", "metrics.csv", "metrics.jsonl", "samples", "report",
        "report/forward.png", "report/reverse.json", "report/real.png", "report/nearest.json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("content", [None, b"[1, 2]", b"\xff\xfe{}\n"])
def test_any_file_may_be_missing_or_damaged(run, name, content):
    path = run.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if content is not None:
        path.write_bytes(content)
    page = run_page(run)
    assert not [sentence for sentence in page.missing if BROKEN in sentence], page.missing


def test_a_line_that_a_kill_has_cut_is_passed_over(run):
    with open(run.metrics_csv, "a") as file:
        file.write("40,,0.1")
    chart = charts(sections(run_page(run))["curves"])["Loss"]
    assert chart.figure.data[0].x == (10, 20, 30)


def test_a_damaged_line_is_counted(run):
    with open(run.metrics_csv, "a") as file:
        file.write("forty,,0.1\n")
    assert "metrics.csv is damaged: 1 of its lines are left out" in run_page(run).missing


def test_a_grid_cut_short_is_left_out(run):
    path = sorted(run.samples.iterdir())[1]
    path.write_bytes(path.read_bytes()[:100])
    (book,) = sections(run_page(run))["samples"]
    assert [label for label, _ in book.frames] == ["step 10", "step 30"]


def test_a_run_without_metrics_says_so(run):
    run.metrics_jsonl.unlink()
    lines = run.metrics_csv.read_text().splitlines()
    kept = [line.split(",")[:3] for line in lines]
    run.metrics_csv.write_text("\n".join(",".join(line) for line in kept) + "\n")
    html = write_and_read(run)
    assert "No metric has been measured so far." in html


def test_an_empty_directory_gives_a_page_that_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    html = write_and_read(RunDirectory(tmp_path / "empty"))
    assert "there are no curves" in html
    assert "there is no grid of samples yet" in html
    assert BROKEN not in html


def test_a_failed_run_tells_why(run):
    run.write_status("failed", error="loss is not finite at step 12 <b>")
    html = write_and_read(run)
    assert "loss is not finite at step 12 &lt;b&gt;" in html


def test_a_section_that_fails_costs_only_itself(run, monkeypatch):
    monkeypatch.setattr("inkwash.reports.run_facts._passed_over", lambda _: 1 / 0)
    page = run_page(run)
    assert [sentence for sentence in page.missing if BROKEN in sentence] == [
        "the section data could not be drawn: ZeroDivisionError: division by zero (<lambda>)"
    ]
    assert "samples" in [section.name for section in page.sections]


def write_and_read(run):
    write_run_report(run)
    return re.sub(r'<script type="application/gzip".*?</script>', "", run.report_path.read_text(), flags=re.DOTALL)


# --- Size -------------------------------------------------------------------------------------------------------------


def test_many_large_grids_are_thinned_to_fit(run, monkeypatch):
    monkeypatch.setattr("inkwash.reports.run_pictures.GRID_BYTES", 6000)
    for path in run.samples.iterdir():
        for step in range(100, 150):
            shutil.copy(path, run.samples / f"step-{step:08d}.png")
    (book,) = sections(run_page(run))["samples"]
    assert sum(len(shown.uri) for _, shown in book.frames) <= 6000
    assert book.frames[-1][0] == "step 149"
    assert "of 53 grids" in book.text
