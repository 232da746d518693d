"""What a key explains of the results of a sweep."""

import random
import statistics

import pytest

from inkwash.reports.key_effects import effect


def test_a_key_that_decides_everything_explains_everything():
    found = effect("a", ["x", "x", "y", "y"], [1.0, 1.0, 5.0, 5.0])
    assert found.share == 1.0


def test_a_key_beside_noise_by_hand():
    """Groups (0, 2), (4, 6): SSW = 4, SST = 20, so 1 - (4 / 2) / (20 / 3) = 0.7."""
    assert effect("a", ["x", "x", "y", "y"], [0.0, 2.0, 4.0, 6.0]).share == pytest.approx(0.7)


@pytest.mark.parametrize("kind", ["groups", "numbers"])
def test_a_key_that_does_nothing_explains_about_nothing(kind):
    draw = random.Random(0)
    shares = []
    for _ in range(300):
        settings = [draw.choice("xyz") if kind == "groups" else str(draw.random()) for _ in range(20)]
        shares.append(effect("a", settings, [draw.gauss(0, 1) for _ in range(20)]).share)
    assert statistics.fmean(share for share in shares if share is not None) < 0.06


def test_a_number_that_orders_the_results():
    settings = [f"{10**-k:g}" for k in range(6)]
    assert effect("lr", settings, [0.1, 0.2, 0.5, 3.0, 4.0, 100.0]).share == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "values"), [(["x", "y"], [1.0, 2.0]), (["x", "x"], [1.0, 2.0]), (["1", "2", "3"], [1.0, 2.0, 3.0])]
)
def test_too_few_jobs_tell_nothing(settings, values):
    assert effect("a", settings, values).share is None


def test_equal_results_are_explained_by_nothing():
    assert effect("a", ["x", "x", "y", "y"], [1.0] * 4).share == 0.0
