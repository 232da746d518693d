"""The diffusion transformer: values of independent code, sizes of the presets, what it starts as, what it refuses."""

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.nets.dit import DiT

CONF = Path(config_dir()) / "model"
LIGHTNING = {"rms_norm": True, "swiglu": True, "rotary": True, "qk_norm": True}
JIT = LIGHTNING | {"bottleneck": 5, "context_tokens": 3, "context_start": 1}


def small(shape=(1, 8, 8), **options):
    return DiT(shape, **{"patch_size": 2, "width": 16, "depth": 2, "num_heads": 2} | options)


def trained_like(net):
    """Weights that are nowhere zero, so that every path shows."""
    gen = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data = 0.2 * torch.randn(p.shape, generator=gen)
    return net.eval()


# --- Values of other implementations ----------------------------------------------------------------------------------


def filled(net):
    """Weights that follow from their shapes alone, so that two implementations can be compared without a file."""
    gains = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, nn.RMSNorm)}
    for name, p in net.named_parameters():
        if p.ndim == 1:
            wave = 0.1 * torch.sin(0.7 * torch.arange(len(p)) + 0.5)
            p.data = wave + (name in gains)
        else:
            i, j = (torch.arange(n) for n in (len(p), p[0].numel()))
            i = i[:, None]
            p.data = (math.sqrt(2 / len(j)) * torch.sin(0.5 + 1.3 * i + 2.7 * i * j + 0.13 * j**2)).view(p.shape)
    return net


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def checksum(z):
    z = z.detach().flatten()
    return float((z * torch.cos(torch.arange(len(z), dtype=z.dtype))).sum())


def inputs(channels, height, width):
    n, c, h, w = torch.meshgrid(*(torch.arange(k) for k in (2, channels, height, width)), indexing="ij")
    image = torch.sin(0.5 + 1.1 * n + 2.3 * c + 0.7 * h + 1.9 * w)
    return image, torch.tensor([0.25, 3.0]), torch.tensor([1, -1])


class Golden:
    """A network of three classes, and what independent code makes of it: see `filled` and `inputs`.

    Attributes:
        s, mean, rms, first, last: of the output; s is `checksum`.
        slope: Euclidean norm of the gradient of s.
        inside: s of what goes through some modules, by name.
    """

    def __init__(self, shape, options, size, output, slope, inside):
        self.shape, self.options, self.size, self.slope, self.inside = shape, options, size, slope, inside
        self.s, self.mean, self.rms, self.first, self.last = output


GOLDENS = {
    "DiT": Golden(
        (2, 4, 4), {"depth": 2}, 14_968, (-11.670656, -0.11571014, 1.45699071, 0.91175441, 0.18404610), 83.640251,
        {"patches": 7.84623440, "time": 0.35418842, "blocks.0": 7.970717, "blocks.1": 8.004128},
    ),
    "LightningDiT": Golden(
        (2, 4, 4), LIGHTNING, 15_056, (-7.426374, 0.10204813, 1.39927094, 1.63229883, -1.60534078), 79.992312,
        {"blocks.0.attention": -1.281233, "blocks.0.mlp": -3.810177, "blocks.0": 4.183825, "blocks.1": -1.122442},
    ),
    "JiT": Golden(
        (3, 8, 8), JIT | {"depth": 3}, 20_068, (-25.170243, 0.02635007, 1.24332628, 2.04235556, -1.36147585),
        112.114945, {"patches": -5.226151, "blocks.0": -0.960798, "blocks.1": 25.374828, "blocks.2": 40.589150},
    ),
}  # fmt: skip


@pytest.fixture(params=GOLDENS.values(), ids=GOLDENS)
def golden(request, float64):
    return request.param, filled(small(request.param.shape, num_classes=3, **request.param.options))


def test_the_output_is_that_of_independent_code(golden):
    expected, net = golden
    assert sum(p.numel() for p in net.parameters()) == expected.size
    out = net(*inputs(*expected.shape))
    z = out.detach().flatten()
    found = [z.mean().item(), z.square().mean().sqrt().item(), z[0].item(), z[-1].item()]
    assert checksum(out) == pytest.approx(expected.s, abs=1e-6, rel=0)
    assert found == pytest.approx([expected.mean, expected.rms, expected.first, expected.last], abs=1e-7, rel=0)
    (out.flatten() * torch.cos(torch.arange(out.numel()).double())).sum().backward()
    norms = torch.stack([p.grad.norm() for p in net.parameters()])
    assert norms.norm().item() == pytest.approx(expected.slope, abs=2e-6, rel=0)


def test_what_goes_through_it_is_that_of_independent_code(golden):
    expected, net = golden
    seen = {}
    for name in expected.inside:
        net.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: seen.update({name: out.flatten(2).mT if out.ndim == 4 else out})
        )
    net(*inputs(*expected.shape))
    assert {name: checksum(out) for name, out in seen.items()} == pytest.approx(expected.inside, abs=1e-6, rel=0)


def test_float32_is_close(golden):
    expected, net = golden
    x, time, y = inputs(*expected.shape)
    exact = net(x, time, y)
    out = net.float()(x.float(), time.float(), y)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), exact, rtol=2e-5, atol=2e-5)


# --- Sizes ------------------------------------------------------------------------------------------------------------

LATENTS, DEEP_LATENTS, PIXELS = (4, 32, 32), (32, 16, 16), (3, 256, 256)
SIGMA = {"learn_variance": True}
B_LIGHTNING = {"width": 768, "depth": 12, "num_heads": 12}
SMALL_JIT = {"width": 384, "num_heads": 6, "context_tokens": 16, "num_classes": 10}
SIZES = [
    ("dit_s", LATENTS, SIGMA, 32_865_056),
    ("dit_s", LATENTS, SIGMA | {"patch_size": 8}, 33_142_016),
    ("dit_s", LATENTS, {}, 32_858_896),
    ("dit_b", LATENTS, SIGMA, 130_315_808),
    ("dit_b", LATENTS, {}, 130_303_504),
    ("dit_b", (3, 32, 32), {"num_classes": 10}, 129_537_036),
    ("dit_l", LATENTS, SIGMA, 457_840_672),
    ("dit_xl", LATENTS, SIGMA, 674_834_720),
    ("dit_xl", LATENTS, SIGMA | {"patch_size": 4}, 675_000_704),
    ("sit_xl", LATENTS, SIGMA, 674_834_720),
    ("lightningdit_xl", DEEP_LATENTS, {}, 674_961_824),
    ("lightningdit_xl", DEEP_LATENTS, {"qk_norm": True}, 674_965_856),
    ("lightningdit_xl", DEEP_LATENTS, B_LIGHTNING, 130_359_584),
    ("lightningdit_xl", DEEP_LATENTS, B_LIGHTNING | {"patch_size": 2}, 130_507_136),
    ("jit_b16", PIXELS, {}, 131_123_712),
    ("jit_b16", PIXELS, {"patch_size": 32}, 133_190_400),
    ("jit_l16", PIXELS, {}, 458_877_664),
    ("jit_h16", PIXELS, {}, 952_514_368),
    ("jit_b16", (3, 32, 32), SMALL_JIT | {"patch_size": 2}, 32_545_164),
    ("jit_b16", (3, 32, 32), SMALL_JIT | {"patch_size": 4}, 32_563_632),
]


def preset(name):
    """The keys of a YAML of conf/model and of those below it."""
    keys = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)
    below = keys.pop("defaults", [])
    return {key: value for base in below for key, value in preset(base).items()} | keys


@pytest.mark.parametrize(("name", "shape", "options", "size"), SIZES)
def test_presets_have_the_published_sizes(name, shape, options, size):
    arguments = preset(name) | {"shape": shape, "num_classes": 1000} | options
    assert arguments.pop("_target_") == "inkwash.nets.dit.DiT"
    with torch.device("meta"):
        net = DiT(**arguments)
    assert sum(p.numel() for p in net.parameters()) == size


# --- What it computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12), (2, 4, 16)])
@pytest.mark.parametrize("options", [{}, JIT | {"num_classes": 3}], ids=["DiT", "JiT"])
@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_any_channels_sides_and_patches(shape, options, patch_size):
    net = trained_like(small(shape, patch_size=patch_size, **options))
    x, time = torch.randn(2, *shape), torch.tensor([3.0, 900.0])
    assert net(x, time).shape == x.shape
    twice = small(shape, patch_size=patch_size, learn_variance=True, **options)
    assert twice(x, time).shape == (2, 2 * shape[0], *shape[1:])


@pytest.mark.parametrize("options", [{}, JIT | {"num_classes": 3}], ids=["DiT", "JiT"])
def test_starts_at_zero(options):
    assert bool((small(**options)(torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])) == 0).all())


def test_starts_with_the_published_spreads():
    torch.manual_seed(0)
    net = small((3, 16, 16), width=128, num_classes=100, context_tokens=64)
    assert net.context is not None
    for embedding in (net.label.weight, net.time[0].weight, net.time[2].weight, net.context):
        assert embedding.std().item() == pytest.approx(0.02, rel=0.05)
    for layer, fan in (
        (net.patches, 128 + 12),
        (net.blocks[0].attention.qkv, 4 * 128),
        (net.blocks[1].mlp.linear_1, 5 * 128),
    ):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.05)
        assert bool((layer.bias == 0).all())
    for layer in (net.blocks[0].modulation, net.modulation, net.head):
        assert not layer.weight.any()


@pytest.mark.parametrize("options", [{}, JIT], ids=["DiT", "JiT"])
def test_images_of_a_batch_do_not_mix(options):
    net = trained_like(small(num_classes=10, **options)).double()
    x, y = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, -1])
    t = torch.tensor([1.0, 10, 100, 900], dtype=torch.float64)
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x, t, y), alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{}, JIT], ids=["DiT", "JiT"])
def test_time_label_and_place_matter_and_none_is_minus_one(options):
    net = trained_like(small(num_classes=10, **options))
    x, t = torch.randn(1, 1, 8, 8).expand(2, -1, -1, -1), torch.tensor([5.0, 5.0])
    a, b = net(x, torch.tensor([5.0, 600.0]), torch.tensor([3, 3]))
    assert not torch.allclose(a, b, atol=1e-3)
    a, b = net(x, t, torch.tensor([3, 4]))
    assert not torch.allclose(a, b, atol=1e-3)
    torch.testing.assert_close(net(x, t, None), net(x, t, torch.tensor([-1, -1])))
    turned = net(x.roll(2, dims=3), t).roll(-2, dims=3)
    assert not torch.allclose(net(x, t), turned, atol=1e-3)


def test_a_scaled_time_is_the_time():
    net, scaled = small(), small(time_scale=0.001)
    scaled.load_state_dict(trained_like(net).state_dict())
    x = torch.randn(2, 1, 8, 8)
    a, b = net(x, torch.tensor([0.25, 0.9])), scaled(x, torch.tensor([250.0, 900.0]))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    net = trained_like(small((3, 16, 16), num_classes=3, learn_variance=True, **JIT)).train()
    net(torch.randn(4, 3, 16, 16), torch.rand(4) * 1000, torch.tensor([0, 1, 2, -1])).square().mean().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


def test_dropout_is_in_the_middle_half_and_in_training_alone():
    net = trained_like(small(depth=8, dropout=0.5, num_classes=3, **JIT))
    rates = [{part.p for part in block.modules() if isinstance(part, torch.nn.Dropout)} for block in net.blocks]
    assert rates == [{0.0}] * 2 + [{0.5}] * 4 + [{0.0}] * 2
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 900.0])
    assert torch.equal(net.eval()(x, t), net(x, t))
    assert not torch.equal(net.train()(x, t), net(x, t))


def test_checkpoints_have_no_buffers():
    net = small(num_classes=3, **JIT)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}


def test_checkpointing_keeps_less_and_changes_no_gradient():
    kept, gradients = [], []
    for checkpointing in (False, True):
        net = trained_like(small(num_classes=3, checkpointing=checkpointing, **JIT)).train()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            out = net(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(4.0))
        out.square().sum().backward()
        kept.append(sum(sizes))
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert kept[1] < kept[0] / 3


@pytest.mark.parametrize("options", [{}, JIT], ids=["DiT", "JiT"])
def test_half_the_bits_are_close(options):
    """Under autocast, and cast as a whole; a network in float16 takes float32 images all the same."""
    net = trained_like(small(num_classes=3, **options))
    x, t, y = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 900.0]), torch.tensor([1, -1])
    with torch.no_grad():
        exact = net(x, t, y)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(net(x, t, y).float(), exact, rtol=0.05, atol=0.05)
        torch.testing.assert_close(net.half()(x, t, y).float(), exact, rtol=0.02, atol=0.02)


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 3}, "model.patch_size=3 does not divide the images of data.shape, 8 x 8: use 1 or 2 or 4 or 8"),
        ({"patch_size": 16}, "model.patch_size=16 does not divide"),
        ({"num_heads": 3}, "model.num_heads=3 must divide model.width=16"),
        ({"width": 18}, "model.sincos=true needs a model.width that 4 divides, not 18"),
        ({"rotary": True, "num_heads": 8}, "model.rotary=true needs heads whose width 4 divides, not 2: change"),
        ({"depth": 0}, "model.depth=0 must be at least 1"),
        ({"bottleneck": 0}, "model.bottleneck=0 must be at least 1"),
        ({"mlp_ratio": 0}, "model.mlp_ratio=0 must be above 0"),
        ({"mlp_ratio": 0.01}, "model.mlp_ratio=0.01 leaves no feature inside the MLP"),
        ({"dropout": 1.0}, "model.dropout=1.0 must lie between 0 and 1"),
        ({"time_scale": -1.0}, "model.time_scale=-1.0 must be above 0"),
        ({"context_tokens": -1}, "model.context_tokens=-1 must not be negative"),
        ({"context_tokens": 4}, "model.context_tokens=4 carry the class, but model.num_classes=null: pass"),
        ({"context_start": 2}, "model.context_start=2 must lie between 0 and model.depth - 1 = 1"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(UserError) as error:
        small(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_width_that_4_does_not_divide_needs_no_table():
    assert small(width=18, sincos=False)(torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])).shape == (2, 1, 8, 8)
