"""Blocks of the transformer: norms, gates, activations."""

import pytest
import torch
import torch.nn.functional as F

from inkwash.nets.transformer import MLP, Block, RMSNorm, SelfAttention, Stacked, SwiGLU


def test_rms_norm_keeps_the_precision_of_its_gain():
    """As autocast calls it: x in bfloat16, the gain in float32."""
    norm, x = RMSNorm(8, eps=1e-6), torch.randn(5, 8).bfloat16()
    out = norm(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, x.float() / (x.float().square().mean(1, keepdim=True) + 1e-6).sqrt())


@pytest.mark.parametrize(("rms_norm", "swiglu", "qk_norm"), [(False, False, False), (True, True, True)])
def test_a_block_starts_as_the_identity(rms_norm, swiglu, qk_norm):
    block = Block(16, 2, 24, rms_norm, swiglu, qk_norm)
    x = torch.randn(3, 5, 16)
    assert torch.equal(block(x, torch.randn(3, 16)), x)


def test_gelu_is_the_hyperbolic_tangents():
    """Hendrycks & Gimpel 2016, section 2: with the exact one outputs differ by 1e-3."""
    mlp = MLP(1, 1).double()
    for layer in (mlp.linear_1, mlp.linear_2):
        torch.nn.init.ones_(layer.weight)
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)[:, None]
    expected = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    torch.testing.assert_close(mlp(x), expected)
    assert (mlp(x) - F.gelu(x)).abs().max() > 1e-4


def test_the_gate_of_swiglu_comes_first():
    mlp = SwiGLU(2, 2)
    mlp.linear_1.weight.data = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    mlp.linear_2.weight.data = torch.eye(2)
    expected = F.silu(torch.tensor([[3.0, 3.0]])) * 5
    torch.testing.assert_close(mlp(torch.tensor([[3.0, 5.0]])), expected)


def test_queries_that_are_normalised_are_bounded():
    """However large the weights are: with gains of 1 a product of head_dim features is at most head_dim."""
    attention = SelfAttention(16, 2, qk_norm=True)
    q = attention.norm_q(1e4 * torch.randn(7, 8))
    torch.testing.assert_close(q.square().sum(1), torch.full((7,), 8.0))


def test_stacked_is_one_layer_initialised_as_one():
    torch.manual_seed(0)
    layer = Stacked(200, 200, 3)
    assert (layer.parts, layer.weight.shape) == (3, (600, 200))
    assert layer.weight.std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.02)
