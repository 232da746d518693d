"""Charts and the sentences below them."""

from itertools import pairwise

import pytest

from inkwash.reports import figures


def test_long_curves_keep_their_ends():
    steps = list(range(0, 100_000, 7))
    found, values = figures.thinned((steps, [float(step) for step in steps]))
    assert len(found) == figures.MOST
    assert (found[0], found[-1]) == (steps[0], steps[-1])
    assert [float(step) for step in found] == values
    gaps = {b - a for a, b in pairwise(found)}
    assert max(gaps) - min(gaps) <= 7


def test_a_chart_says_what_it_shows():
    chart = figures.curves("Loss", {"loss": ([10, 20], [0.5, 0.25]), "other": ([], [])}, "loss", {"real images": 0.125})
    assert chart.text == "Loss goes from 0.5 at step 10 to 0.25 at step 20; real images have 0.125."
    assert [trace.name for trace in chart.figure.data] == ["loss"]
    (line,) = chart.figure.layout.shapes
    assert (line.y0, line.y1, line.x0, line.x1) == (0.125, 0.125, 0, 1)


def test_every_axis_of_steps_begins_at_0():
    """A single value would else stand on an axis from 299 to 301."""
    chart = figures.curves("Loss", {"loss": ([300], [0.5])}, "loss", yaxis={"rangemode": "tozero"})
    assert chart.figure.layout.xaxis.rangemode == "tozero"


def test_loss_by_noise_is_drawn_at_the_middles_of_its_bins():
    columns = {
        "loss_by_log_snr/-4_to_-2": ([10, 20], [0.5, 0.4]),
        "loss_by_log_snr/0_to_2": ([10], [0.9]),
        "loss_by_log_snr/-2_to_0": ([20], [0.7]),
    }
    chart = figures.loss_by_noise(columns)
    assert {trace.name: (trace.x, trace.y) for trace in chart.figure.data} == {
        "step 10": ((-3.0, 1.0), (0.5, 0.9)),
        "step 20": ((-3.0, -1.0), (0.4, 0.7)),
    }
    assert chart.text.startswith("At step 20 the loss is largest, 0.7, at log SNR -1, and smallest, 0.4, at -3.")


def test_names_are_shown_as_they_are():
    """Plotly takes `<b>` for a command."""
    chart = figures.bars("Images", ["a <b>", "c & d"], {"<i>": [1, 2]}, "y", "text")
    (bar,) = chart.figure.data
    assert bar.x == ("a &lt;b&gt;", "c &amp; d")
    assert bar.name == "&lt;i&gt;"


def test_shares_add_up():
    chart = figures.shares("Time", {"training": 75.0, "metrics": 25.0}, "seconds")
    assert [bar.text for bar in chart.figure.data] == ["75%", "25%"]
    assert "training 75.0%, metrics 25.0%" in chart.text


@pytest.mark.parametrize("steps", [1, 2, 7, 200])
def test_loss_by_noise_shows_six_steps_at_most(steps):
    chart = figures.loss_by_noise({"loss_by_log_snr/0_to_2": (list(range(steps)), [1.0] * steps)})
    names = [trace.name for trace in chart.figure.data]
    assert len(names) == min(6, steps)
    assert names[-1] == f"step {steps - 1}"
