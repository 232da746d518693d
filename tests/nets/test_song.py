"""DDPM++ and NCSN++: against another implementation, their sizes, labels and augmentation, what they refuse."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.muon import hidden_matrices
from inkwash.nets.song import SongUNet
from inkwash.nets.song_blocks import FourierFeatures, ImageHalved, Resample, filter_kernel
from support.filled import facts, filled, image, outputs

NCSNPP = {"fourier": True, "resample_filter": [1, 3, 3, 1], "residual_input": True}


def small(shape=(2, 8, 8), **options):
    sizes = {
        "channels": 8,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [4],
        "time_scale": 1.0,
    }
    return SongUNet(shape, **sizes | options)


TIME, LABEL = torch.tensor([-0.3, 0.4], dtype=torch.float64), torch.tensor([1, 2])
AUGMENT = torch.tensor([[0, 0], [1, -0.5]], dtype=torch.float64)


def test_ddpmpp_is_edms():
    net = filled(small(num_classes=3, augment_dim=2))
    down, up = net.down, net.up
    seen = outputs(
        {"map": net.embed[2], "conv": net.input, "block": down[0], "down": down[1], "4x4": down[2], "in0": up[0]}
    )
    found = facts(net, net(image(2, 8), TIME, LABEL, AUGMENT))
    expected = {
        "map": 1.70815461, "conv": 0.15853674, "block": -1.85961218, "down": -0.07432034, "4x4": 1.92045612,
        "in0": -7.18345973,
    }  # fmt: skip
    assert seen == pytest.approx(expected, abs=1e-6)
    assert found == pytest.approx(
        {
            "parameters": 48_178, "checksum": -2.90429092, "mean": 0.11307855, "rms": 0.51773434, "first": 0.64471337,
            "last": 0.10111549, "gradient": 176.124020,
        },
        abs=1e-6,
    )  # fmt: skip


def test_ncsnpp_is_edms():
    net = filled(small(num_classes=3, **NCSNPP))
    net.waves.frequencies.copy_(0.5 * (torch.arange(8) + 1))
    seen = outputs({"map": net.embed[2], "down": net.down[1], "in0": net.up[0]})
    found = facts(net, net(image(2, 8), TIME, LABEL))
    assert seen == pytest.approx({"map": 2.20231043, "down": -0.27263466, "in0": -2.94282631}, abs=1e-6)
    assert found == pytest.approx(
        {
            "parameters": 48_602, "checksum": -2.05955685, "mean": 0.10794045, "rms": 0.48962988, "first": 0.42545413,
            "last": 0.15001495, "gradient": 137.673656,
        },
        abs=1e-6,
    )  # fmt: skip


def preset(name, shape, **more):
    node = OmegaConf.load(f"{config_dir()}/model/{name}.yaml")
    with torch.device("meta"):
        return build({**OmegaConf.to_container(node), "shape": shape, **more})


@pytest.mark.parametrize(
    ("name", "more", "parameters"),
    [
        ("ddpmpp_cifar10", {}, 55_732_739),
        ("ddpmpp_cifar10", {"augment_dim": 9}, 55_733_891),
        ("ddpmpp_cifar10", {"num_classes": 10}, 55_734_147),
        ("ddpmpp_cifar10", {"num_classes": 10, "augment_dim": 9}, 55_735_299),
        ("ncsnpp_cifar10", {}, 56_395_523),
        ("ncsnpp_cifar10", {"augment_dim": 9}, 56_397_827),
        ("ncsnpp_cifar10", {"num_classes": 10}, 56_398_339),
        ("ncsnpp_cifar10", {"num_classes": 10, "augment_dim": 9}, 56_400_643),
        ("ddpmpp_cifar10", {"shape": [3, 64, 64], "channel_mult": [1, 2, 2, 2], "augment_dim": 9}, 61_805_571),
        ("ncsnpp_cifar10", {"shape": [3, 64, 64], "channel_mult": [1, 2, 2, 2], "augment_dim": 9}, 62_761_091),
    ],
)
def test_presets_have_edms_sizes(name, more, parameters):
    net = preset(name, **{"shape": [3, 32, 32]} | more)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("options", [{}, NCSNPP], ids=["ddpmpp", "ncsnpp"])
def test_any_channels_and_sides_and_every_parameter_gets_a_gradient(options):
    net = filled(small((3, 12, 20), attention_resolutions=[12], num_classes=3, augment_dim=9, num_heads=2, **options))
    x, time, y = torch.randn(4, 3, 12, 20, dtype=torch.float64), torch.rand(4, dtype=torch.float64), torch.arange(4) - 1
    out = net(x, time, y, torch.randn(4, 9, dtype=torch.float64))
    assert out.shape == x.shape
    out.square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_no_label_and_no_augmentation_are_zeros():
    net = filled(small(num_classes=3, augment_dim=9))
    x, time = image(2, 8), TIME
    none = net(x, time)
    assert torch.equal(none, net(x, time, torch.tensor([-1, -1])))
    assert torch.equal(none, net(x, time, None, torch.zeros(2, 9, dtype=torch.float64)))
    assert not torch.allclose(none, net(x, time, LABEL), atol=1e-3)
    assert not torch.allclose(none, net(x, time, None, torch.ones(2, 9, dtype=torch.float64)), atol=1e-3)


def test_starts_near_zero_and_dropout_is_of_training():
    net = small(dropout=0.5)
    x, time = torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.2])
    assert net(x, time).abs().max() < 1e-4
    assert torch.equal(net.eval()(x, time), net(x, time))
    assert not torch.equal(net.train()(x, time), net(x, time))


def test_images_of_a_batch_do_not_mix():
    net = filled(small(num_classes=3, **NCSNPP))
    both = net(image(2, 8), TIME, LABEL)
    alone = torch.cat([net(image(2, 8)[i : i + 1], TIME[i : i + 1], LABEL[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(both, alone, rtol=1e-10, atol=1e-10)


def test_muon_takes_the_hidden_matrices():
    net = small(num_classes=3, augment_dim=9, **NCSNPP)
    matrices = {name for name, p in net.named_parameters() if p.ndim > 1}
    assert matrices - {*hidden_matrices(net)} == {"input.weight", "output.2.weight", "label.weight"}


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = small(dropout=0.5, checkpointing=checkpointing, **NCSNPP)
        net(torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.2])).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_weights_start_within_edms_bounds():
    """Uniform below sqrt(6 / (fan_in + fan_out)), times 1e-5 for what ends a branch and sqrt(0.2) for attention."""
    torch.manual_seed(0)
    net = small(channels=32)
    block = next(block for block in net.down if block.attention)
    c = block.conv_2.out_channels
    for layer, bound in (
        (block.conv_2, 1e-5 * math.sqrt(6 / (18 * c))),
        (block.attention.qkv, math.sqrt(0.2 * 6 / (4 * c))),
        (block.attention.out, 1e-5 * math.sqrt(6 / (2 * c))),
    ):
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert FourierFeatures(20_000).frequencies.std().item() == pytest.approx(16, rel=0.03)


@pytest.mark.parametrize("up", [False, True])
def test_the_box_filter_is_a_mean_and_a_repetition(up):
    """As the general way has it."""
    x = torch.randn(2, 3, 6, 8)
    box = Resample([1, 1], up)
    quick, box.box = box(x), False
    torch.testing.assert_close(box(x), quick)


def test_filters_keep_constants_and_halve_sides():
    x = torch.ones(1, 2, 8, 8)
    for up in (False, True):
        inside = Resample([1, 3, 3, 1], up)(x)[:, :, 2:-2, 2:-2]
        torch.testing.assert_close(inside, torch.ones_like(inside))
    assert float(filter_kernel([1, 3, 3, 1])[0, 0, 0, 1]) == pytest.approx(3 / 64)
    assert ImageHalved(2, 5, [1, 3, 3, 1])(x).shape == (1, 5, 4, 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (2, 9, 8)}, r"data.shape: this model halves images 1 times, so .*multiples of 2, not 9 x 8"),
        ({"num_heads": 3}, r"model.num_heads=3 must divide the channels \[16\]"),
        ({"attention_resolutions": [16]}, r"model.attention_resolutions lists \[16\].*\[8, 4\]"),
        ({"channels": 0}, r"model.channels=0 must be at least 1"),
        ({"num_res_blocks": 0}, r"model.num_res_blocks=0 must be at least 1"),
        ({"augment_dim": -1}, r"model.augment_dim=-1 must not be negative"),
        ({"resample_filter": [1, 2, 1]}, r"model.resample_filter=\[1, 2, 1\] must have an even number of taps"),
    ],
)
def test_what_cannot_be_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        small(**options)
