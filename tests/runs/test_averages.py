"""Averages of other lengths: the formulas of Karras et al. 2024, on snapshots of a training in one dimension."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inkwash.checkpoints.posthoc import reconstruct
from inkwash.errors import UserError
from inkwash.runs.averages import coefficients, exponent_of, inner, length_in, length_of, parts_of, snapshots
from inkwash.training.ema import PowerDecay

LENGTHS = {
    0.01: 96.99489782, 0.05: 16.97219860, 0.10: 6.937203938, 0.15: 3.557868775, 0.20: 1.826213780, 0.25: 0.719823958,
}  # fmt: skip
SHORT, LONG = exponent_of(0.05), exponent_of(0.10)


@pytest.mark.parametrize(("length", "gamma"), LENGTHS.items())
def test_exponents_are_those_of_the_paper(length, gamma):
    assert exponent_of(length) == pytest.approx(gamma + 1, rel=1e-9)
    assert length_of(exponent_of(length)) == pytest.approx(length, rel=1e-12)


def test_the_default_average_has_this_length():
    assert length_of(PowerDecay().exponent) == pytest.approx(0.0554593554, abs=1e-10)


@pytest.mark.parametrize("length", [0.0, -0.1, 0.2887, 1.0, math.nan])
def test_lengths_that_no_power_function_has_are_refused(length):
    with pytest.raises(UserError, match="must lie between 0 and 0.2887"):
        exponent_of(length)


def products(a, b):
    return float(inner(*map(np.float64, (*a, *b))))


def test_inner_products_are_those_of_the_paper():
    assert products((4, SHORT), (8, LONG)) == pytest.approx(0.005841292839, abs=1e-11)
    assert products((8, SHORT), (8, SHORT)) == pytest.approx(1.15540669, abs=1e-8)
    assert products((4, SHORT), (8, LONG)) == products((8, LONG), (4, SHORT))


def test_inner_products_are_integrals():
    for a, b in [((4, 3.5), (8, 2.0)), ((8, 2.0), (8, 5.0)), ((5, 1.0), (9, 7.5))]:
        tau = (np.arange(400_000) + 0.5) / 400_000 * 10
        p, q = (np.where(tau <= n, e * tau ** (e - 1) / n**e, 0) for n, e in (a, b))
        assert products(a, b) == pytest.approx(float((p * q).mean() * 10), rel=1e-4)


@pytest.mark.parametrize(
    ("length", "x"),
    [
        (0.05, [0, 0, 1, 0]),
        (0.075, [1.35748281e-4, -2.42662683e-3, 0.342969036, 0.659321843]),
        (0.15, [-1.44959974e-2, 5.01413935e-2, -0.340511895, 1.30486650]),
    ],
)
def test_coefficients_are_those_of_the_paper(length, x):
    found, error = coefficients([4, 4, 8, 8], [SHORT, LONG, SHORT, LONG], 8, exponent_of(length))
    np.testing.assert_allclose(found, x, rtol=0, atol=2e-9)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert error == pytest.approx(0, abs=1e-6) if length == 0.05 else 0.04 < error < 0.23


# --- A training in one dimension --------------------------------------------------------------------------------------


def theta(n):
    return math.sin(n / 300) + n / 1000


def averaged(exponent, steps=8000):
    """Return the averages of theta after each step, as training/ema.py makes them."""
    decay, value, values = PowerDecay(exponent), 0.0, []
    for n in range(1, steps + 1):
        value = decay(n) * value + (1 - decay(n)) * theta(n)
        values.append(value)
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return snapshots/ of that training: a file each 1,000 steps."""
    path = tmp_path_factory.mktemp("snapshots")
    both = {"short": averaged(SHORT), "long": averaged(LONG)}
    metadata = {"exponents": f'{{"short": {SHORT!r}, "long": {LONG!r}}}'}
    for step in range(1000, 8001, 1000):
        tensors = {f"{name}.w": torch.tensor([values[step - 1]], dtype=torch.float64) for name, values in both.items()}
        save_file(tensors, path / f"step-{step:08d}.safetensors", metadata)
    return path


def test_the_averages_themselves(folder):
    assert averaged(SHORT)[4999] == pytest.approx(4.575284843, abs=1e-8)
    assert averaged(LONG)[7999] == pytest.approx(7.169724292, abs=1e-8)


@pytest.mark.parametrize(
    ("length", "made", "true"),
    [
        (0.05, 7.877257056, 7.877257056),
        (0.07, 7.547854050, 7.552493383),
        (0.15, 6.592846503, 6.577836600),
        (0.20, 5.977349968, 5.912757339),
    ],
)
def test_reconstructions_are_those_of_the_reference(folder, length, made, true):
    weights, step = reconstruct(folder, length, 8000)
    assert step == 8000
    assert weights["w"].dtype == torch.float32
    assert float(weights["w"]) == pytest.approx(made, abs=1e-6)
    assert averaged(exponent_of(length))[-1] == pytest.approx(true, abs=1e-8)
    exact = sum(share * averaged(s.exponents[name])[s.step - 1] for s, name, share in parts_of(folder, length)[0])
    assert exact == pytest.approx(made, abs=1e-8)


def test_later_snapshots_do_not_count(folder):
    weights, step = reconstruct(folder, 0.05, 5500)
    assert step == 5000
    assert float(weights["w"]) == pytest.approx(4.575284843, abs=1e-6)


def test_a_run_without_snapshots_says_how_to_get_them(folder, tmp_path):
    for place, step in ((tmp_path, 8000), (folder, 999)):
        with pytest.raises(UserError, match=r"has none of these steps: train with 'callbacks=\[default,posthoc\]'"):
            reconstruct(place, 0.1, step)


def test_lengths_that_the_snapshots_cannot_give_are_refused(folder):
    """One snapshot of each length cannot be stretched far."""
    with pytest.raises(UserError, match=r"1 snapshot up to step 1000 can make .* error of \d+%: .* nearer to 0.05 or"):
        reconstruct(folder, 0.28, 1000)
    with pytest.raises(UserError, match="length=0.001"):
        reconstruct(folder, 0.001, 8000)


def test_a_damaged_snapshot_is_named(tmp_path):
    (tmp_path / "step-00000010.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"step-00000010.safetensors is damaged"):
        snapshots(tmp_path)


def test_names_of_weights():
    assert length_in("posthoc_0.13") == 0.13
    assert [length_in(name) for name in ("ema", "raw", "slow")] == [None] * 3
    for name in ("posthoc_", "posthoc_long"):
        with pytest.raises(UserError, match=f"weights={name} must be posthoc_LENGTH"):
            length_in(name)
