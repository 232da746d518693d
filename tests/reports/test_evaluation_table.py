"""Tables of an evaluation: best first, intervals beside values, means over seeds."""

import csv
import json
from typing import Any

import pytest
from PIL import Image

from inkwash.reports.evaluation_table import console_table, over_seeds, plot_quality, rows, write_tables
from support.evaluations import cell


def result(name, sampler, steps, seed, fd):
    metrics = {"fd_eyes_100": fd, "fd_low_eyes_100": fd - 0.5, "fd_high_eyes_100": fd + 0.5}
    return cell(name, sampler, steps, seed, metrics, {"fd_eyes_100": {"notes": ["100 images are few"]}})


RESULTS = [
    result("sampler=ddim seed=0", "DDIM", 10, 0, 3.0),
    result("sampler=ddim seed=1", "DDIM", 10, 1, 5.0),
    result("sampler=heun seed=0", "Heun", 20, 0, 1.0),
]


def test_seeds_are_summarised_and_nothing_else():
    (group,) = over_seeds(RESULTS)
    assert group["name"] == "sampler=ddim, 2 seeds"
    summary = group["metrics"]["fd_eyes_100"]
    assert (summary.mean, summary.n) == (4.0, 2)
    assert summary.std == pytest.approx(2**0.5)


def test_tables_hold_everything_best_first(tmp_path):
    write_tables(tmp_path, RESULTS)
    assert json.loads((tmp_path / "table.json").read_text()) == RESULTS
    with open(tmp_path / "table.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["fd_eyes_100"]) for row in rows] == [1.0, 3.0, 5.0]
    assert json.loads((tmp_path / "seeds.json").read_text())[0]["fd_eyes_100"]["mean"] == 4.0


def test_a_value_that_rises_is_sorted_from_the_largest(tmp_path):
    """And what another question left in the folder is gone."""
    scores = [{**r, "metrics": {"accuracy_eyes_100": r["metrics"]["fd_eyes_100"]}} for r in RESULTS[::2]]
    for name in ("seeds.json", "quality.png"):
        (tmp_path / name).touch()
    write_tables(tmp_path, scores)
    plot_quality(tmp_path / "quality.png", scores[:1])
    with open(tmp_path / "table.csv") as file:
        assert [float(row["accuracy_eyes_100"]) for row in csv.DictReader(file)] == [3.0, 1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.json"]


def of_count(count, name, value):
    return {**cell(name, "DDIM", 10, 0, {f"fd_eyes_{count}": value}, {}), "num_images": count}


def test_other_numbers_of_images_are_not_ranked_against_each_other():
    """The bias of a Frechet distance goes as 1/n: the worst of 1000 images is below the best of 100."""
    counts = [(100, "a", 3.0), (1000, "b", 1.5), (100, "c", 2.0), (1000, "d", 1.0)]
    assert [row["name"] for row in rows([of_count(*each) for each in counts])] == ["c", "a", "d", "b"]


def test_results_without_the_main_metric_come_last():
    """A metric that a few images cannot give is left out of their results."""
    few = cell("few", "DDIM", 10, 0, {"memorised_eyes_32": 0.0}, {})
    assert [row["name"] for row in rows([few, *RESULTS])][-1] == "few"
    none = cell("none", "DDIM", 10, 0, {}, {})
    assert [row["name"] for row in rows([none, few, *RESULTS])][-2:] == ["few", "none"]


def test_console_says_intervals_and_notes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    console_table(RESULTS)
    out = capsys.readouterr().out
    assert "3 (2.5-3.5)" in out
    assert "4 +- 1.4" in out
    assert out.index("sampler=heun") < out.index("sampler=ddim")
    assert "fd_eyes_100: 100 images are few" in out


def test_plot_has_a_line_for_each_setting_over_its_seeds(tmp_path, monkeypatch):
    """Bars reach from the least to the greatest of the seeds, which are not as far from their mean."""
    from matplotlib import pyplot as plt

    drawn: list[Any] = []
    monkeypatch.setattr(plt, "close", drawn.append)
    more = [result("sampler=ddim seed=2", "DDIM", 10, 2, 10.0)]
    more += [result(f"weights=raw seed={seed}", "DDIM", 10, seed, 0.2) for seed in range(3)]
    plot_quality(tmp_path / "quality.png", [*RESULTS, *more])
    with Image.open(tmp_path / "quality.png") as picture:
        assert picture.size == (1050, 675)
    lines = {bars.get_label(): bars for bars in drawn[0].axes[0].containers}
    assert set(lines) == {"sampler=ddim", "sampler=heun", "weights=raw"}
    assert [line[0].get_ydata().tolist() for line in lines.values()] == [[6.0], [1.0], [pytest.approx(0.2)]]
    (ends,) = lines["sampler=ddim"][2][0].get_segments()
    assert ends[:, 1].tolist() == [3.0, 10.0]
    monkeypatch.undo()
    plt.close(drawn[0])
    plot_quality(tmp_path / "one.png", RESULTS[:1])
    assert not (tmp_path / "one.png").exists()


LONG = "sampler=ddim,spacing.steps=10"
METRICS = ("fd", "kid_mean", "precision", "recall", "density", "coverage", "accuracy", "memorised")


@pytest.mark.parametrize("cells", [1, 2, 7])
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_name_and_no_number_is_broken(width, cells, capsys, monkeypatch):
    """Nine columns at 80 letters had one letter to a line."""
    monkeypatch.setenv("COLUMNS", str(width))
    results = [result(f"{LONG}{i}", "DDIM", 10, 0, 1.0) for i in range(cells)]
    for i, r in enumerate(results):
        r["metrics"] |= {f"{m}_classifier_1350": 0.1111 * (j + 1) for j, m in enumerate(METRICS)}
        del r["metrics"]["fd_eyes_100"]
        r["records"] = {f"{m}_classifier_1350": {"notes": []} for m in METRICS}
        r["metrics"]["fd_classifier_1350"] += i
    console_table(results)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert words >= {*METRICS, "*_classifier_1350", "evaluations", "0.2222", "0.8888"}
    assert {f"{i}.111" for i in range(1, cells)} <= words
    assert len(lines) <= 4 * (cells + 4) or width < 80


def test_a_refused_cell_is_a_row_with_its_reason(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    refused = {"sampler=heun": "sampler=heun needs schedule=edm"}
    console_table(RESULTS, refused)
    out = capsys.readouterr().out
    assert [line.split("│")[2].strip() for line in out.splitlines() if "│ sampler=heun " in line][-1] == "refused"
    assert "sampler=heun: sampler=heun needs schedule=edm" in out
    write_tables(tmp_path, RESULTS, refused)
    with open(tmp_path / "table.csv") as file:
        assert list(csv.DictReader(file))[-1]["refused"] == refused["sampler=heun"]
    assert json.loads((tmp_path / "table.json").read_text()) == RESULTS
