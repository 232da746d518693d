"""Draws are functions of their keys."""

import pytest
import torch

from inkwash.random import Draws, generator, seed_of


def test_seed_of_is_stable():
    """These numbers name every noise a run draws: a change of them changes every result."""
    assert seed_of(0, "train", 0, 0) == 4356526329425737720
    assert seed_of(0, "sample") == 1038044455491140521


def test_keys_do_not_collide():
    seeds = {seed_of(seed, stream, step) for seed in range(10) for stream in "ab" for step in range(500)}
    assert len(seeds) == 10_000
    assert seed_of(1, 11) != seed_of(11, 1)


def test_image_generators_differ_in_the_bits_the_cpu_keeps():
    first = [torch.randn(2, generator=generator(0, "sample", offset=i)).tolist() for i in range(5000)]
    assert len({tuple(x) for x in first}) == 5000


def test_shares_come_from_their_own_generators():
    whole = Draws([generator(0, k) for k in range(4)]).normal(8, 3)
    halves = [Draws([generator(0, k) for k in ks]).normal(4, 3) for ks in ((0, 1), (2, 3))]
    assert torch.equal(whole, torch.cat(halves))


def test_types_and_moments():
    draws = Draws([generator(0, "x")])
    normal, uniform = draws.normal(50_000), draws.uniform(50_000)
    assert (normal.dtype, uniform.dtype) == (torch.float32, torch.float64)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.var() - 1) < 0.05
    assert abs(uniform.mean() - 0.5) < 0.01
    assert 0 <= uniform.min() < uniform.max() < 1


def test_uneven_shares_are_an_error():
    with pytest.raises(ValueError, match="equal shares"):
        Draws([generator(0), generator(1)]).normal(3, 1)


@pytest.mark.parametrize(("device", "pinned"), [("cuda", [(3, 2)]), ("cpu", [])])
def test_numbers_for_a_gpu_are_copied_from_pinned_memory(monkeypatch, device, pinned):
    """Any other copy would wait for the GPU in each step of a stochastic sampler."""
    found, copies = [], []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: found.append(tuple(self.shape)) or self)
    to = lambda self, device, non_blocking: copies.append((str(device), non_blocking)) or self  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "to", to)
    Draws([generator("a"), generator("b"), generator("c")], device).normal(3, 2)
    assert found == pinned
    assert copies == [(device, device == "cuda")]
