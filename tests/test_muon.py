"""Muon: its iteration, its step against torch's, which parameters are its own, its state, its errors."""

import copy
import math
import re

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from inkwash.config.instantiate import build
from inkwash.config.signatures import check_arguments
from inkwash.errors import UserError
from inkwash.muon import Muon, hidden_matrices
from inkwash.nets.dit import DiT
from inkwash.nets.transformer import Stacked
from inkwash.newton_schulz import newton_schulz, newton_schulz_by_gram, orthogonalised
from inkwash.training.build import build_module
from support.training import NO_METRIC, checkpoint, rows

# --- The iteration ----------------------------------------------------------------------------------------------------


def test_singular_values_become_about_1_and_singular_vectors_stay():
    x = torch.randn(3, 24, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    inside = u.mT @ newton_schulz(x) @ vt.mT
    values = inside.diagonal(dim1=1, dim2=2)
    assert 0.68 < values.min() < values.max() < 1.21
    torch.testing.assert_close(inside, torch.diag_embed(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("least", [0.01, 0.003])
def test_the_bounds_hold_for_every_singular_value_down_to(least):
    """|X|_F = 1 with one value of `least`: a diagonal matrix shows what becomes of it."""
    values = torch.logspace(math.log10(least), 0, 400, dtype=torch.float64)
    pairs = torch.stack([values, (1 - values**2).clamp(min=0).sqrt()], 1)
    after = newton_schulz(torch.diag_embed(pairs))[:, 0, 0]
    assert 0.68 < after.min() < after.max() < 1.21


@pytest.mark.parametrize(("least", "close"), [(0.1, 1e-5), (0.01, 5e-4), (1e-5, 2e-3)])
def test_by_gram_it_is_the_same(least, close):
    """Singular values from 1 down to `least`, as one of several sizes; relative to the largest number, in float32."""
    draws = torch.Generator().manual_seed(0)
    values = torch.logspace(0, math.log10(least), 32, dtype=torch.float64)
    stacks = []
    for count, columns in ((3, 288), (1, 64), (2, 32)):
        u, v = (
            torch.linalg.qr(torch.randn(count, n, 32, generator=draws, dtype=torch.float64))[0] for n in (32, columns)
        )
        stacks.append((u * values) @ v.mT)
    for found, stack in zip(newton_schulz_by_gram([stack.float() for stack in stacks]), stacks, strict=True):
        expected = newton_schulz(stack)
        assert (found - expected).abs().max() < close * expected.abs().max()


@pytest.mark.parametrize("gram", [True, False])
def test_every_shape_is_its_flattened_matrix(gram):
    """Tall, wide, square, kernels in both orders in memory, and zeros: together as alone."""
    torch.manual_seed(0)
    shapes = ((8, 3), (3, 8), (6, 6), (4, 2, 3, 3), (40, 2, 3, 3), (3, 8), (4, 2, 3, 3))
    tensors = [torch.randn(shape) for shape in shapes]
    tensors[-1] = tensors[-1].to(memory_format=torch.channels_last)
    tensors.append(torch.zeros(5, 2))
    for tensor, result in zip(tensors, orthogonalised(tensors, gram=gram), strict=True):
        matrix = tensor.reshape(len(tensor), -1)
        u, s, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
        p = s / max(float(s.norm()), 1e-7)
        for _ in range(5):
            p = 3.4445 * p - 4.7750 * p**3 + 2.0315 * p**5
        torch.testing.assert_close(result.double().reshape(matrix.shape), u @ p.diag() @ vt, rtol=0, atol=1e-5)


# --- The step ---------------------------------------------------------------------------------------------------------

SHAPES = ((48, 16), (16, 48), (32, 32))


class Matrices(nn.Module):
    """Matrices that no rule sets apart, and a bias."""

    def __init__(self, shapes):
        super().__init__()
        self.matrices = nn.ParameterList([torch.randn(shape) for shape in shapes])
        self.bias = nn.Parameter(torch.zeros(3))


def steps_of(optimizer, parameters, count=4, seed=1):
    """Take steps with made-up gradients."""
    draws = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_step_is_that_of_torch(monkeypatch, weight_decay):
    """torch.optim.Muon computes in bfloat16; in it we differ by one rounding of the rate, in float32 by 1%."""
    torch.manual_seed(0)
    net = Matrices(SHAPES)
    start = copy.deepcopy(net)
    theirs = copy.deepcopy(net)
    steps_of(torch.optim.Muon(theirs.matrices, 0.02, weight_decay, 0.95), theirs.matrices)

    def in_bfloat16(x, steps, ours=newton_schulz):
        return ours(x.bfloat16(), steps)

    for iteration, gram, close in (
        (in_bfloat16, False, 2e-6),
        (newton_schulz, False, 2e-2),
        (newton_schulz, True, 2e-2),
    ):
        mine = copy.deepcopy(net)
        monkeypatch.setattr("inkwash.newton_schulz.newton_schulz", iteration)
        steps_of(Muon(mine.parameters(), mine, 0.02, 0.95, gram=gram, weight_decay=weight_decay), mine.matrices)
        for a, b, before in zip(mine.matrices, theirs.matrices, start.matrices, strict=True):
            assert (a - b).norm() < close * (b - before).norm()


def test_a_kernel_steps_as_its_matrix():
    """And the order in which it lies in memory changes nothing, not even which of its numbers moves."""
    torch.manual_seed(0)
    kernel = torch.randn(8, 4, 3, 3)
    nets = [Matrices([]) for _ in range(3)]
    nets[0].matrices.append(kernel.clone())
    nets[1].matrices.append(kernel.to(memory_format=torch.channels_last, copy=True))
    nets[2].matrices.append(kernel.reshape(8, 36).clone())
    for net in nets:
        (weight,) = net.matrices
        optimizer = Muon(net.parameters(), net)
        for seed in range(3):
            grad = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(seed)).reshape(weight.shape)
            weight.grad = grad.to(memory_format=torch.channels_last) if net is nets[1] else grad
            optimizer.step()
    a, b, c = (net.matrices[0].detach() for net in nets)
    assert b.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(a, b)
    assert torch.equal(a, c.reshape(a.shape))


@pytest.mark.parametrize("fused", [True, False])
def test_the_others_step_as_with_adamw(fused):
    torch.manual_seed(0)
    net = Matrices(SHAPES)
    theirs = copy.deepcopy(net)
    steps_of(Muon(net.parameters(), net, weight_decay=0.1, fused=fused), [net.bias])
    adamw = torch.optim.AdamW([theirs.bias], 5e-3, (0.9, 0.99), weight_decay=0.1, fused=fused)
    steps_of(adamw, [theirs.bias])
    assert torch.equal(net.bias, theirs.bias)
    assert all(torch.equal(a, b) for a, b in zip(net.matrices, theirs.matrices, strict=True))  # had no gradient


def test_one_factor_for_both_rates():
    net = Matrices(SHAPES)
    optimizer = Muon(net.parameters(), net, lr=0.04, adamw_lr=0.002)
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    steps_of(optimizer, list(net.parameters()), 1)
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.001]


# --- Which parameters -------------------------------------------------------------------------------------------------


def test_what_is_hidden_in_unet_small(compose_config):
    net = build(compose_config("model=unet_small")["model"])
    names = [*hidden_matrices(net)]
    apart = [name for name, parameter in net.named_parameters() if parameter.ndim > 1 and name not in names]
    assert apart == ["label.weight", "input.weight", "output.2.weight"]
    assert all(net.get_parameter(name).ndim in (2, 4) for name in names)
    assert {"time.0.weight", "time.2.weight", "middle.1.qkv.weight", "down.0.0.conv_1.weight"} <= {*names}
    assert {"down.0.0.embedding.weight", "up.1.1.conv.weight"} <= {*names}
    fewer = hidden_matrices(net, ["time.*", "middle.1.qkv.weight"])
    assert {*names} - {*fewer} == {"time.0.weight", "time.2.weight", "middle.1.qkv.weight"}


class Transformer(nn.Module):
    """A convolution cuts the image into tokens, a linear layer puts it together; positions, and scales of a branch."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, 2)
        self.positions = nn.Parameter(torch.zeros(1, 16, 8))
        self.table = nn.Parameter(torch.zeros(16, 8))
        self.label = nn.Embedding(10, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.output = nn.Linear(8, 4)


def test_what_is_hidden_in_a_transformer():
    hidden = ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert [*hidden_matrices(Transformer())] == ["table", *hidden, "output.weight"]
    assert [*hidden_matrices(Transformer(), ["table", "output.*"])] == hidden


def test_what_is_hidden_in_dit():
    net = DiT((1, 8, 8), 2, 16, 2, 2, num_classes=3, swiglu=True, bottleneck=3, context_tokens=2)
    names = hidden_matrices(net)
    apart = [name for name, parameter in net.named_parameters() if parameter.ndim > 1 and name not in names]
    assert apart == ["context", "patches.0.weight", "patches.1.weight", "label.weight", "head.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_queries_keys_and_values_step_as_three_matrices(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), Stacked(6, 6, 3), nn.Linear(18, 2)).to(dtype)
    apart = nn.Sequential(nn.Linear(4, 6), *(nn.Linear(6, 6) for _ in range(3)), nn.Linear(6, 2)).to(dtype)
    starts = [weight.clone() for weight in net[1].weight.chunk(3)]
    for k, start in enumerate(starts):
        apart[k + 1].weight.data = start.clone()
    one, three = Muon(net.parameters(), net), Muon(apart.parameters(), apart)
    for seed in range(3):
        gradient = torch.randn(18, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        net[1].weight.grad = gradient
        for k, part in enumerate(gradient.chunk(3)):
            apart[k + 1].weight.grad = part.clone()
        one.step()
        three.step()
    assert torch.equal(net[1].weight, torch.cat([apart[k].weight for k in (1, 2, 3)]))


def test_what_is_hidden_in_other_networks():
    """A convolution of which a parametrization owns the kernel; linear layers without a convolution."""
    norm = nn.utils.parametrizations.spectral_norm
    net = nn.Sequential(norm(nn.Conv2d(2, 8, 3)), norm(nn.Conv2d(8, 8, 3)), nn.ConvTranspose2d(8, 2, 3))
    assert [*hidden_matrices(net)] == ["1.parametrizations.weight.original"]
    assert [*hidden_matrices(nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))))] == ["1.weight", "2.weight"]


def test_a_network_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    net = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, num_class_embeds=3,
    )  # fmt: skip
    hidden = hidden_matrices(net)
    apart = [name for name, parameter in net.named_parameters() if parameter.ndim > 1 and name not in hidden]
    assert apart == ["conv_in.weight", "class_embedding.weight", "conv_out.weight"]
    assert len(Muon(net.parameters(), net).param_groups[0]["params"]) == len(hidden)


def test_a_loss_that_learns_is_adamws(compose_config):
    module = build_module(compose_config("optimizer=muon", "weighting=uncertainty"))
    matrices, others = (set(group["params"]) for group in module.new_optimizer().param_groups)
    assert {*module.loss.parameters()} <= others
    assert matrices == {*hidden_matrices(module.denoiser.net).values()}
    assert matrices | others == {*module.denoiser.parameters(), *module.loss.parameters()}


def test_a_network_without_hidden_matrices_is_adamws():
    net, same = (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3)) for _ in range(2))
    same.load_state_dict(net.state_dict())
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    ours = Muon(net.parameters(), net, adamw_lr=0.1)
    theirs = torch.optim.AdamW(same.parameters(), lr=0.1, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for _ in range(3):
        for network, optimizer in ((net, ours), (same, theirs)):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), same.parameters(), strict=True))
    ours.load_state_dict(ours.state_dict())


# --- State ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
def test_three_steps_and_three_are_six(fused):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4), nn.Conv2d(8, 1, 3))
    net = net.to(memory_format=torch.channels_last)
    copied = copy.deepcopy(net)
    whole = Muon(net.parameters(), net, fused=fused)
    first = Muon(copied.parameters(), copied, fused=fused)
    steps_of(whole, list(net.parameters()), 3, seed=1)
    steps_of(first, list(copied.parameters()), 3, seed=1)
    second = Muon(copied.parameters(), copied, lr=1.0, fused=fused)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps_of(whole, list(net.parameters()), 3, seed=2)
    steps_of(second, list(copied.parameters()), 3, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), copied.parameters(), strict=True))


# --- Errors -----------------------------------------------------------------------------------------------------------

WRONG = {
    "optimizer.lr=0": "optimizer.lr=0 must be above 0",
    "optimizer.adamw_lr=-1": "optimizer.adamw_lr=-1 must be above 0",
    "optimizer.momentum=1": "optimizer.momentum=1 must lie in [0, 1)",
    "optimizer.momentum=-0.1": "optimizer.momentum=-0.1 must lie in [0, 1)",
    "optimizer.betas=[0.9,1.0]": "optimizer.betas[1]=1.0 must lie in [0, 1)",
    "optimizer.steps=0": "optimizer.steps=0 must be at least 1",
    "optimizer.weight_decay=-1": "optimizer.weight_decay=-1 must not be negative",
    "optimizer.exclude=[labels.weight]": "the network has no parameter labels.weight; the nearest name is label.weight",
    "optimizer.exclude=['*']": "optimizer.exclude leaves no matrix to Muon: pass optimizer=adamw, or exclude fewer",
}


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("override", WRONG)
def test_wrong_values_end_in_a_sentence(compose_config, override):
    with pytest.raises(UserError, match=re.escape(WRONG[override])) as error:
        build_module(compose_config("optimizer=muon", override))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override", ["optimizer.lr=fast", "optimizer.steps=1.5", "optimizer.exclude=a", "+optimizer.k=1"]
)
def test_values_of_another_type_are_found_without_torch(compose_config, override):
    with pytest.raises(UserError, match=rf"^optimizer\.{override.strip('+').split('.', 1)[1].split('=')[0]}"):
        check_arguments(compose_config("optimizer=muon", override)["optimizer"], "optimizer")


# --- A training -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_goes_on_with_new_rates(fit_run):
    """A resume takes both rates from the configuration, and no other choice of matrices."""
    options = (
        NO_METRIC,
        "~callbacks.samples",
        "optimizer=muon",
        "learning_rate=warmup",
        "learning_rate.warmup_steps=0",
        "callbacks.log.every_n_steps=1",
    )
    fit_run("run", *options, "trainer.max_steps=2")
    new = ("trainer.max_steps=4", "optimizer.lr=0.01", "optimizer.adamw_lr=0.001", "optimizer.momentum=0.9")
    directory, trainer, _ = fit_run("run", *options, *new)
    assert trainer.global_step == 4
    assert [row["train/learning_rate"] for row in rows(directory)] == [0.02, 0.02, 0.01, 0.01]
    matrices, others = checkpoint(directory)["optimizer_states"][0]["param_groups"]
    assert (matrices["lr"], matrices["momentum"], others["lr"]) == (0.01, 0.9, 0.001)
    with pytest.raises(UserError, match="another optimizer.exclude"):
        fit_run("run", *options, "trainer.max_steps=6", "optimizer.exclude=[time.*]")


def test_sharded_matrices_are_refused(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net: nn.Module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
        fully_shard(net, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(UserError, match=r"pass trainer\.strategy=ddp or optimizer=adamw"):
            Muon(net.parameters(), net)
    finally:
        dist.destroy_process_group()
