"""What differs between configurations, as lines."""

import pytest

from inkwash.reports.difference_lines import folded, lines_of

DIFFERING = [
    ("schedule.betas._target_", ["inkwash.process.betas.cosine", "inkwash.process.betas.linear"]),
    ("schedule.betas.s", [0.008, None]),
    ("callbacks.evaluation._target_", ["inkwash.training.callbacks.evaluation.Evaluation", None]),
    ("callbacks.evaluation.sampler._target_", ["inkwash.samplers.ddim.DDIM", None]),
    ("callbacks.evaluation.seed", [0, None]),
    ("optimizer.lr", [0.001, 0.002]),
]


def test_a_node_that_one_lacks_is_a_line():
    assert folded(DIFFERING) == [
        ("schedule.betas", ["cosine", "linear"]),
        ("schedule.betas.s", [0.008, None]),
        ("callbacks.evaluation", ["Evaluation", None]),
        ("optimizer.lr", [0.001, 0.002]),
    ]


@pytest.mark.parametrize("width", [60, 80, None])
def test_columns(width):
    long = [*DIFFERING, ("data." + "x" * 90, ["y" * 90, "z" * 9])]
    lines = lines_of(long, ["one", "two"], width)
    assert width is None or max(map(len, lines)) <= width
    assert lines[0].split() == ["one", "two"]
    assert lines[4].split() == ["optimizer.lr", "0.001", "0.002"]
    assert lines[3].split() == ["callbacks.evaluation", "Evaluation", "–"]
    assert ("…" in lines[5]) == (width is not None)
