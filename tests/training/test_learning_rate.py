"""Learning-rate schedules."""

import math

import pytest

from inkwash.errors import UserError
from inkwash.training.learning_rate import InverseSqrt, Warmup, WarmupCosine


def test_warmup_is_linear_and_then_constant():
    assert [Warmup(4)(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert Warmup()(0) == 1


def test_cosine_starts_after_the_warmup_and_ends_at_0():
    rate = WarmupCosine(total_steps=10, warmup_steps=2)
    assert [rate(step) for step in (0, 1, 2)] == [0.5, 1, 1]
    assert rate(6) == pytest.approx(0.5)
    assert rate(4) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert rate(10) == rate(99) == pytest.approx(0)


@pytest.mark.parametrize(
    ("images", "rate"),
    [(2048, 2.048e-6), (5e6, 0.005), (10e6, 0.01), (143.36e6, 0.01), (573.44e6, 0.005), (2**31, 0.00258374)],
)
def test_inverse_sqrt_is_edm2s(images, rate):
    """0.01 with batches of 2048 images, the warm-up over ten million and the fall from 70,000 batches on."""
    law = InverseSqrt(reference_steps=70_000, warmup_steps=10_000_000 / 2048)
    assert 0.01 * law(images / 2048 - 1) == pytest.approx(rate, rel=1e-5)
    assert [InverseSqrt(4)(n - 1) for n in (1, 4, 5, 16)] == pytest.approx([1, 1, 0.8**0.5, 0.5], rel=1e-12)


def test_wrong_numbers_of_steps_are_refused():
    with pytest.raises(UserError, match=r"learning_rate.reference_steps=0 must be at least 1"):
        InverseSqrt(0)
    with pytest.raises(UserError, match=r"learning_rate.warmup_steps=-1 must not be negative"):
        Warmup(-1)
    with pytest.raises(UserError, match=r"learning_rate.total_steps=0 must be at least 1"):
        WarmupCosine(0)
