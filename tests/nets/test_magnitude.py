"""Magnitude-preserving operations and layers: values of the paper's equations, and magnitudes."""

import math

import pytest
import torch

from inkwash.nets.magnitude import (
    Magnitude,
    MPConv,
    MPFourier,
    MPLabel,
    MPLinear,
    mp_cat,
    mp_silu,
    mp_sum,
    normalize,
    renormalize,
)
from support.filled import filled


def test_values_of_the_operations():
    one, two = torch.tensor([1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    assert normalize(torch.tensor([3.0, 4.0], dtype=torch.float64), [0]).tolist() == pytest.approx(
        [3 / (1e-4 + math.sqrt(12.5)), 4 / (1e-4 + math.sqrt(12.5))], abs=1e-12
    )
    assert normalize(torch.tensor([3.0, 4.0]), [0]).tolist() == pytest.approx([0.8485, 1.1313], abs=5e-5)
    assert mp_silu(torch.tensor([1.0, -1.0], dtype=torch.float64)).tolist() == pytest.approx(
        [1.2266083534, -0.4512439956], abs=1e-10
    )
    assert mp_sum(one, two, 0.3).item() == pytest.approx(1.7069836272, abs=1e-10)
    assert mp_sum(one, two, 0.5).item() == pytest.approx(2.1213203436, abs=1e-10)


@pytest.mark.parametrize(("t", "factors"), [(0.5, (1.41421, 0.81650)), (0.3, (1.8383, 0.4549))])
def test_joining_weighs_by_width(t, factors):
    joined = mp_cat(torch.ones(1, 2, 1, 1), torch.ones(1, 6, 1, 1), t).flatten()
    assert joined.tolist() == pytest.approx([factors[0]] * 2 + [factors[1]] * 6, abs=1e-4)


def test_a_linear_layer_divides_out_the_size_of_its_weight():
    layer = filled(MPLinear(3, 2))
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    out = layer(x).detach()
    assert out[0].tolist() == pytest.approx([3.6910, 1.1425], abs=5e-5)
    layer.weight.data *= 10
    torch.testing.assert_close(layer(x).detach(), out, rtol=2e-3, atol=0)


def test_a_class_is_the_linear_layer_of_its_onehot():
    label, linear = MPLabel(5, 7), MPLinear(5, 7)
    linear.weight.data = label.weight.data.T.clone()
    y = torch.tensor([4, 0, -1])
    onehot = torch.cat([torch.eye(5)[[4, 0]], torch.zeros(1, 5)])
    torch.testing.assert_close(label(y), linear(math.sqrt(5) * onehot))


def test_magnitudes_are_preserved():
    """Of random layers on random inputs, each within four standard deviations."""
    torch.manual_seed(0)

    def rms(x):
        return float(x.detach().square().mean().sqrt())

    x, y = torch.randn(64, 64, 8, 8), torch.randn(64, 64, 8, 8)
    assert rms(MPLinear(64, 512)(torch.randn(512, 64))) == pytest.approx(1, abs=0.02)
    inside = MPConv(64, 64, 3)(x)[:, :, 1:-1, 1:-1]
    assert rms(inside) == pytest.approx(1, abs=0.03)
    assert rms(mp_silu(x)) == pytest.approx(1, abs=0.01)
    assert rms(mp_sum(x, y, 0.3)) == pytest.approx(1, abs=0.01)
    assert rms(mp_cat(x, y[:, :16], 0.4)) == pytest.approx(1, abs=0.01)
    assert rms(MPFourier(2048)(torch.linspace(-2, 2, 64))) == pytest.approx(1, abs=0.05)


def test_waves_are_edm2s():
    """sqrt(2) cos(f t + phi), f / 2 pi ~ N(0, 1) and phi / 2 pi ~ U(0, 1)."""
    torch.manual_seed(0)
    waves = MPFourier(10_000)
    f, phi = waves.frequencies.double() / (2 * math.pi), waves.phases.double() / (2 * math.pi)
    assert (f.mean().item(), f.std().item()) == pytest.approx((0, 1), abs=0.03)
    assert (f.abs() < 1).double().mean().item() == pytest.approx(0.6827, abs=0.02)
    assert 0 <= phi.min() < 0.01 < 0.99 < phi.max() <= 1
    assert phi.mean().item() == pytest.approx(0.5, abs=0.02)
    time = torch.tensor([0.0, -0.7, 0.3])
    expected = math.sqrt(2) * torch.cos(2 * math.pi * (f * time[:, None] + phi))
    torch.testing.assert_close(waves(time).double(), expected, rtol=0, atol=1e-4)


def test_weights_start_with_magnitude_1_and_are_put_back_to_it():
    torch.manual_seed(0)
    net = torch.nn.Sequential(MPConv(16, 8, 3), torch.nn.Sequential(MPLinear(40, 12)), MPLabel(30, 9))

    def magnitudes():
        layers = [layer for layer in net.modules() if isinstance(layer, Magnitude)]
        return torch.cat([layer.weight.detach().square().mean(layer.over).sqrt().flatten() for layer in layers])

    assert bool(((magnitudes() - 1).abs() < 2e-4).all())
    for p in net.parameters():
        p.data *= 3
    renormalize(net)
    # 3 / (3 + 1e-4): the constant that is added to a norm.
    torch.testing.assert_close(magnitudes(), torch.full_like(magnitudes(), 1 - 1e-4 / 3), rtol=0, atol=2e-5)
