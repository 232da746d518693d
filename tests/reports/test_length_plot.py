"""Quality against the length of an average: a line for each setting, never a mean over settings."""

from typing import Any

import pytest

from inkwash.reports.length_plot import plot_lengths
from support.evaluations import cell


def result(name, weights, value, metric="fd_eyes_100"):
    return {**cell(name, "DDIM", 5, 0, {metric: value}, {metric: {"lower_is_better": True}}), "weights": weights}


@pytest.fixture
def plotted(tmp_path, monkeypatch):
    """Plot results; return x and y of each line by its label."""
    from matplotlib import pyplot as plt

    def plot(results):
        figures: list[Any] = []
        with monkeypatch.context() as patch:
            patch.setattr(plt, "close", figures.append)
            plot_lengths(tmp_path / "lengths.png", results)
        (axes,) = figures[0].axes
        plt.close(figures[0])
        return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}

    return plot


def test_settings_are_lines_of_their_own(plotted):
    """With guidance 3 the other length is better: a mean of both would say what is true of neither."""
    values = {(1, 0.05): 2.0, (1, 0.1): 1.0, (3, 0.05): 10.0, (3, 0.1): 12.0}
    results = [result(f"weights=posthoc_{n} guidance={g}", f"posthoc_{n}", value) for (g, n), value in values.items()]
    results += [result(f"weights=ema guidance={g}", "ema", value) for g, value in ((1, 3.0), (3, 11.0))]
    assert plotted(results) == {
        "guidance=1": ([0.05, 0.1], [2.0, 1.0]), "guidance=1, ema": ([0, 1], [3.0, 3.0]),
        "guidance=3": ([0.05, 0.1], [10.0, 12.0]), "guidance=3, ema": ([0, 1], [11.0, 11.0]),
    }  # fmt: skip


def test_a_single_setting_needs_no_name_and_seeds_are_averaged(plotted):
    values = {(0, 0.05): 2.0, (1, 0.05): 4.0, (0, 0.1): 1.0, (1, 0.1): 1.0}
    results = [result(f"weights=posthoc_{n} seed={s}", f"posthoc_{n}", value) for (s, n), value in values.items()]
    results += [result(f"weights=raw seed={seed}", "raw", 5.0 + seed) for seed in range(2)]
    assert plotted(results) == {"reconstructed": ([0.05, 0.1], [3.0, 1.0]), "raw": ([0, 1], [5.5, 5.5])}


def test_values_of_other_numbers_of_images_are_not_on_the_same_axis(plotted):
    results = [
        result(f"weights=posthoc_{n} num_images={count}", f"posthoc_{n}", 100 / count, f"fd_eyes_{count}")
        for count in (100, 1000)
        for n in (0.05, 0.1)
    ]
    assert plotted(results) == {"reconstructed": ([0.05, 0.1], [1.0, 1.0])}


def test_one_length_of_a_setting_is_no_plot(tmp_path):
    path = tmp_path / "lengths.png"
    path.touch()
    plot_lengths(
        path, [result(f"weights=posthoc_{n} guidance={g}", f"posthoc_{n}", 1.0) for n, g in ((0.05, 1), (0.1, 3))]
    )
    assert not path.exists()
