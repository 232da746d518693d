"""Results that differ in their seed or number of steps alone are one line; all others are lines of their own."""

import pytest

from inkwash.reports.evaluation_lines import along_evaluations, remaining
from support.evaluations import cell

METRIC = "fd_eyes_100"


def result(name, steps=10, evaluations=10, value=1.0):
    return {**cell(name, "DDIM", steps, 0, {METRIC: value}, {}), "evaluations": evaluations}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("sampler=ddim spacing.steps=5 seed=1", "sampler=ddim"),
        ("weights=ema ++seed=1 +sampler.spacing.steps=5", "weights=ema"),
        ("sampler.corrector_steps=2 steps=5", "sampler.corrector_steps=2"),
        ("spacing.steps=5", "DDIM"),
        ("as trained", "as trained"),
    ],
)
def test_a_line_is_named_by_the_settings_that_are_left(name, line):
    assert list(along_evaluations(METRIC, [result(name)])) == [line]


def test_a_line_without_settings_is_named_by_its_sampler_and_guidance():
    guided = {**result("spacing.steps=5"), "guidance": 2.0}
    assert list(along_evaluations(METRIC, [guided])) == ["DDIM, guidance 2"]


def test_results_lie_at_their_evaluations():
    few, more, again = (result(f"steps={n} seed={s}", n, n) for n, s in ((5, 0), (10, 0), (10, 1)))
    assert along_evaluations(METRIC, [few, more, again]) == {"DDIM": {5: [few], 10: [more, again]}}
    assert along_evaluations("accuracy", [few]) == {}


def test_steps_tell_apart_where_evaluations_are_unknown():
    """Those of a pipeline are not counted: 10 and 20 steps would lie on one point, and be averaged."""
    unknown = [result(f"steps={n}", n, None) for n in (10, 20)]
    assert list(along_evaluations(METRIC, unknown)) == ["steps=10", "steps=20"]


def test_what_is_left_of_a_name():
    assert remaining("a=1 b.seed=2 seed=3", "seed") == "a=1 b.seed=2"
    assert remaining("seed=3", "seed") == ""
