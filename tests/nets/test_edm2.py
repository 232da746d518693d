"""EDM2's network: against another implementation, its sizes, magnitudes, what it refuses."""

import pytest
import torch
from omegaconf import OmegaConf

from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.muon import hidden_matrices
from inkwash.nets.edm2 import EDM2Block, EDM2UNet
from support.filled import facts, filled, image, outputs


def small(shape=(2, 8, 8), **options):
    sizes = {"channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [4]}
    return EDM2UNet(shape, **sizes | {"head_dim": 8, "time_scale": 1.0} | options)


def test_the_network_is_edm2s():
    net = filled(small(num_classes=3))
    net.waves.frequencies.copy_(0.5 * (torch.arange(8) + 1))
    net.waves.phases.copy_(0.3 * torch.arange(8))
    down, up = net.down, net.up
    seen = outputs(
        {"noise": net.noise, "conv": net.input, "8x8": down[0], "down": down[1], "4x4": down[2], "in0": up[0]}
    )
    out = net(image(2, 8), torch.tensor([-0.3, 0.4], dtype=torch.float64), torch.tensor([1, 2]))
    found = facts(net, out)
    assert seen == pytest.approx(
        {
            "noise": 0.46042795, "conv": 0.12054922, "8x8": 3.11951058, "down": -1.51040657, "4x4": 1.39062111,
            "in0": -2.64184005,
        },
        abs=1e-6,
    )  # fmt: skip
    assert found == pytest.approx(
        {
            "parameters": 45_475, "checksum": 0.29073716, "mean": 0.09717251, "rms": 0.28304804, "first": -0.18662706,
            "last": 0.40283525, "gradient": 36.118642,
        },
        abs=1e-6,
    )  # fmt: skip


slow = pytest.mark.slow
U = 128  # parameters of weighting=uncertainty, which the paper's counts contain
IN64, LATENTS = {"shape": [3, 64, 64], "num_classes": 1000}, {"shape": [4, 64, 64], "num_classes": 1000}


@pytest.mark.parametrize(
    ("name", "more", "parameters"),
    [
        pytest.param("edm2_xxs", LATENTS, 31_309_029, marks=slow),
        ("edm2_cifar10", {"shape": [3, 32, 32], "num_classes": 10}, 34_777_628),
        pytest.param("edm2_xs", LATENTS, 124_713_253, marks=slow),
        pytest.param("edm2_s", LATENTS, 280_212_837, marks=slow),
        pytest.param("edm2_m", LATENTS, 497_807_781, marks=slow),
        pytest.param("edm2_l", LATENTS, 777_498_085, marks=slow),
        pytest.param("edm2_xl", LATENTS, 1_119_283_749, marks=slow),
        pytest.param("edm2_xxl", LATENTS, 1_523_164_773, marks=slow),
        pytest.param("edm2_xs", IN64, 124_710_949, marks=slow),
        pytest.param("edm2_s", IN64, 280_209_381, marks=slow),
        pytest.param("edm2_m", IN64, 497_803_173, marks=slow),
        pytest.param("edm2_l", IN64, 777_492_325, marks=slow),
        pytest.param("edm2_xl", IN64, 1_119_276_837, marks=slow),
    ],
)
def test_presets_have_edm2s_sizes(name, more, parameters):
    node = OmegaConf.to_container(OmegaConf.load(f"{config_dir()}/model/{name}.yaml"))
    with torch.device("meta"):
        net = build({**node, **more})
    assert sum(p.numel() for p in net.parameters()) + U == parameters


def test_the_size_of_the_weights_does_not_matter():
    torch.manual_seed(0)
    net = small((3, 16, 16), channels=16, attention_resolutions=[8], num_classes=3).eval()
    net.gain.data += 1
    for block in net.modules():
        if isinstance(block, EDM2Block):
            block.gain.data += 0.5
    x, time, y = torch.randn(4, 3, 16, 16), torch.randn(4), torch.tensor([0, 1, 2, -1])
    before = net(x, time, y)
    for name, p in net.named_parameters():
        if not name.endswith("gain"):
            p.data *= 10
    assert (net(x, time, y) - before).abs().max() <= 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_magnitudes_of_blocks_stay_near_1(seed):
    """Of input of magnitude 1: zeros beyond the edges take some of it, and 32 channels are not many."""
    torch.manual_seed(seed)
    net = small((3, 16, 16), channels=32, num_res_blocks=2, attention_resolutions=[8])
    seen = []
    for block in (*net.down, *net.up):
        block.register_forward_hook(lambda _, __, out: seen.append(out.detach().square().mean().sqrt().item()))
    net(torch.randn(16, 3, 16, 16), torch.randn(16))
    assert len(seen) == 14
    assert 0.8 <= min(seen) <= max(seen) <= 1.1
    assert sum(seen) / 14 == pytest.approx(0.93, abs=0.04)


def test_the_output_starts_at_zero_and_every_parameter_learns():
    net = small((3, 12, 20), attention_resolutions=[12], num_classes=3)
    x, time, y = torch.randn(4, 3, 12, 20), torch.rand(4), torch.arange(4) - 1
    assert bool((net(x, time, y) == 0).all())
    for name, p in net.named_parameters():
        p.data += 0.5 * name.endswith("gain")
    net(x, time, y).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_no_label_is_minus_one_and_images_do_not_mix():
    net = filled(small(num_classes=3))
    x, time, y = image(2, 8), torch.tensor([-0.3, 0.4], dtype=torch.float64), torch.tensor([-1, 2])
    assert torch.equal(net(x, time), net(x, time, torch.tensor([-1, -1])))
    alone = torch.cat([net(x[i : i + 1], time[i : i + 1], y[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(net(x, time, y), alone, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(alone, net(x, time), atol=1e-3)


def test_muon_takes_the_hidden_matrices():
    net = small(num_classes=3)
    matrices = {name for name, p in net.named_parameters() if p.ndim > 1}
    assert matrices - {*hidden_matrices(net)} == {"input.weight", "output.weight", "label.weight"}


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = small(dropout=0.5, checkpointing=checkpointing)
        net.gain.data += 1
        net(torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.2])).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (2, 9, 8)}, r"data.shape: this model halves images 1 times, so .*multiples of 2, not 9 x 8"),
        ({"head_dim": 64}, r"model.head_dim=64 must divide the channels \[16\]"),
        ({"channel_mult": [1, 2, 1.5], "head_dim": 16}, r"model.head_dim=16 must divide the channels \[12, 16\]"),
        ({"attention_resolutions": [16]}, r"model.attention_resolutions lists \[16\].*\[8, 4\]"),
        ({"channel_mult": []}, r"model.channel_mult=\[\] must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        small(**options)
