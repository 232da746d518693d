"""The page of a sweep: its table, which keys mattered, failed jobs."""

import json
import math
import shutil

import pytest

from inkwash.errors import UserError
from inkwash.reports.page import Chart, Shown, Table, render
from inkwash.reports.sweep_report import Sweep, sweep_page
from inkwash.runs.directory import RunDirectory
from inkwash.sweeps.table import sorted_rows, write_page


def a_row(job, lr, prediction, value, state="finished", **more):
    metrics = {} if value is None else {"fd": value}
    return {
        "job": job, "state": state, "overrides": [f"optimizer.lr={lr}", f"prediction={prediction}", "seed=1"],
        "metrics": metrics, "directions": {"fd": True}, "error": "", "seconds": 10 * (value or 1), "steps": 30, **more,
    }  # fmt: skip


ROWS = [
    a_row("best", "1e-4", "v", 1.0), a_row("second", "1e-2", "v", 1.5), a_row("third", "1e-4", "eps", 7.0),
    a_row("last", "1e-2", "eps", 9.0), a_row("broken", "1", "eps", None, "failed", error="not finite <b>"),
]  # fmt: skip


def a_sweep(tmp_path, rows=ROWS, metric="fd"):
    return Sweep(tmp_path / "mine", rows, metric, True, ["optimizer.lr", "prediction"])


def found(page):
    return {section.name: section.blocks for section in page.sections}


def test_the_table_has_every_job_the_best_first_and_marked(tmp_path):
    page = sweep_page(a_sweep(tmp_path))
    (table,) = found(page)["jobs"]
    assert isinstance(table, Table)
    assert table.sortable
    assert table.marked == 0
    assert [row[4] for row in table.rows] == [1.0, 1.5, 7.0, 9.0, None]
    assert [cell.value for cell in (row[0] for row in table.rows)] == [1e-4, 1e-2, 1e-4, 1e-2, 1.0]


def test_a_failed_job_is_told_with_its_reason(tmp_path):
    page = sweep_page(a_sweep(tmp_path))
    assert page.missing == ["broken failed: not finite <b>"]
    assert page.state == "failed"
    assert "not finite &lt;b&gt;" in render(page)


def test_parallel_coordinates_have_an_axis_for_each_key_and_the_metric(tmp_path):
    (chart,) = found(sweep_page(a_sweep(tmp_path)))["coordinates"]
    axes = {axis.label: axis for axis in chart.figure.data[0].dimensions}
    assert list(axes) == ["optimizer.lr", "prediction", "fd"]
    assert axes["optimizer.lr"]["values"] == pytest.approx([-4, -2, -4, -2])  # powers of ten
    assert axes["prediction"].ticktext == ("eps", "v")
    assert axes["fd"]["values"] == (1.0, 1.5, 7.0, 9.0)


def test_the_key_that_matters_comes_first(tmp_path):
    bars, *_, table = found(sweep_page(a_sweep(tmp_path)))["keys"]
    assert [row[0] for row in table.rows] == ["prediction", "optimizer.lr"]
    assert isinstance(bars, Chart)
    # Groups (1, 1.5) and (7, 9): SSW = 0.125 + 2, SST = 47.6875 by hand.
    assert table.rows[0][1] == pytest.approx(1 - (2.125 / 2) / (47.6875 / 3))
    assert table.rows[1][1] == 0


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS[4:], [a_row("odd", "1", "v", math.nan)], []])
def test_few_jobs_give_a_page_too(tmp_path, rows):
    page = sweep_page(a_sweep(tmp_path, rows, "fd" if rows else None))
    assert render(page)


def test_the_page_of_a_directory_of_jobs(filled, tmp_path):
    for job in ("one", "two"):
        shutil.copytree(filled, tmp_path / "mine" / job)
        run = RunDirectory(tmp_path / "mine" / job)
        run.write_record({**run.record, "overrides": [f"optimizer.lr={'1e-3' if job == 'one' else '2e-3'}"]})
    (tmp_path / "mine" / "command.txt").write_text("make sweep optimizer.lr=1e-3,2e-3\n")
    (tmp_path / "mine" / "two" / "summary.json").write_text("{")
    write_page(tmp_path / "mine")
    assert (tmp_path / "mine" / "report.html").stat().st_size < 5_000_000
    rows, metric, directions = sorted_rows(tmp_path / "mine")
    page = sweep_page(Sweep(tmp_path / "mine", rows, metric, directions[metric], ["optimizer.lr"]))
    (samples,) = found(page)["samples"]
    assert isinstance(samples, Shown)
    assert [label for label, _ in samples.parts] == ["optimizer.lr=1e-3: 53.33"]
    assert "make sweep optimizer.lr=1e-3,2e-3" in render(page)
    assert any("two lost" in sentence for sentence in page.missing)


def test_jobs_side_by_side_say_whether_their_noise_is_the_same(filled, tmp_path):
    for job, seed in (("best", 0), ("second", 5)):
        shutil.copytree(filled, tmp_path / "mine" / job)
        run = RunDirectory(tmp_path / "mine" / job)
        run.write_config(
            run.config | {"callbacks": run.config["callbacks"] | {"samples": {"columns": 10, "seed": seed}}}
        )
    (shown,) = found(sweep_page(a_sweep(tmp_path)))["samples"]
    assert "different noise: callbacks.samples.seed is 0 in optimizer.lr=1e-4 prediction=v; 5 in " in shown.text
    alone = found(sweep_page(a_sweep(tmp_path, ROWS[:1])))["samples"]
    assert alone[0].text == "The first rows of each job's last grid, the best job first."


def test_a_folder_without_jobs_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "status.json").write_text(json.dumps({}))
    (tmp_path / "y").mkdir()
    with pytest.raises(UserError, match="holds no jobs of a sweep"):
        write_page(tmp_path / "y")
