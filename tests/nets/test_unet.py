"""The U-Net: size, shapes, what it starts as, what it refuses."""

import pytest
import torch
from torch import nn

from inkwash.errors import UserError
from inkwash.nets.unet import UNet


def small(shape=(1, 8, 8), **options):
    return UNet(
        shape, **{"channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": []} | options
    )


def trained_like(net):
    """Weights that are nowhere zero, so that every path shows."""
    gen = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data = 0.1 * torch.randn(p.shape, generator=gen)
    return net.eval()


def test_cifar10_network_has_ddpms_size():
    with torch.device("meta"):
        net = UNet((3, 32, 32), 128, [1, 2, 2, 2], 2, [16], dropout=0.1)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 35_746_307


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 48), (4, 16, 16), (2, 8, 24)])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_any_channels_and_sides(shape, patch_size):
    net = trained_like(small(shape, patch_size=patch_size))
    x = torch.randn(2, *shape)
    assert net(x, torch.tensor([3.0, 900.0])).shape == x.shape


def test_starts_at_zero():
    net = small()
    assert bool((net(torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])) == 0).all())


def test_images_of_a_batch_do_not_mix():
    net = trained_like(small(num_classes=10)).double()
    x, t, y = (
        torch.randn(4, 1, 8, 8, dtype=torch.float64),
        torch.tensor([1.0, 10, 100, 900]),
        torch.tensor([0, 1, 2, -1]),
    )
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1].double(), y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x, t.double(), y), alone, rtol=1e-10, atol=1e-10)


def test_time_and_label_matter_and_none_is_minus_one():
    net = trained_like(small(num_classes=10))
    x, t = torch.randn(1, 1, 8, 8).expand(2, -1, -1, -1), torch.tensor([5.0, 5.0])
    a, b = net(x, torch.tensor([5.0, 600.0]), torch.tensor([3, 3]))
    assert not torch.allclose(a, b, atol=1e-3)
    a, b = net(x, t, torch.tensor([3, 4]))
    assert not torch.allclose(a, b, atol=1e-3)
    torch.testing.assert_close(net(x, t, None), net(x, t, torch.tensor([-1, -1])))


def test_every_parameter_gets_a_gradient():
    net = trained_like(small((3, 16, 16), attention_resolutions=[16, 8], num_classes=3, num_heads=2)).train()
    net(torch.randn(4, 3, 16, 16), torch.rand(4) * 1000, torch.tensor([0, 1, 2, -1])).square().mean().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


def test_time_scale_multiplies_the_time():
    net, slow = trained_like(small()), trained_like(small(time_scale=0.25))
    x, time = torch.randn(2, 1, 8, 8), torch.tensor([900.0, 40.0])
    torch.testing.assert_close(slow(x, time), net(x, time / 4))
    assert not torch.allclose(slow(x, time), net(x, time), atol=1e-3)


def test_an_image_without_a_label_is_refused_where_there_is_no_embedding_for_it():
    net, x, time = small(num_classes=3, no_label=False), torch.zeros(2, 1, 8, 8), torch.ones(2)
    net(x, time, torch.tensor([0, 2]))
    for y in (torch.tensor([0, -1]), None):
        with pytest.raises(UserError, match=r"model.no_label=false.: give every image one"):
            net(x, time, y)


def test_dropout_only_in_training():
    net = trained_like(small(dropout=0.5))
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([5.0])
    assert torch.equal(net(x, t), net(x, t))
    net.train()
    assert not torch.equal(net(x, t), net(x, t))


def test_attention_at_chosen_resolutions():
    def count(net):
        return sum(type(m).__name__ == "Attention" for m in net.modules())

    assert count(small((1, 16, 16))) == 1  # the innermost level's
    # one block down and two up at 16, besides
    assert count(small((1, 16, 16), attention_resolutions=[16])) == 4


def test_checkpoints_have_no_buffers():
    assert all(isinstance(v, nn.Parameter) for _, v in small().named_parameters())
    assert set(small().state_dict()) == {name for name, _ in small().named_parameters()}


@pytest.mark.parametrize(("shape", "names"), [((1, 9, 8), "8 or 10"), ((3, 32, 31), "30 or 32"), ((1, 1, 1), "2")])
def test_sides_that_cannot_be_halved_are_refused(shape, names):
    with pytest.raises(UserError, match=names) as error:
        small(shape)
    assert "data.shape" in str(error.value)


def test_resolution_that_does_not_occur_is_refused():
    with pytest.raises(UserError, match=r"\[16\].*\[8, 4\]"):
        small(attention_resolutions=[16])


def test_heads_divide_the_widths_and_groups_the_first_layer_too():
    """The first convolution has `channels`, which need not be the width of any level."""
    UNet((1, 8, 8), 4, [3], 1, [], num_heads=6)
    with pytest.raises(UserError, match=r"model.num_heads=5 must divide the channels \[12\]"):
        UNet((1, 8, 8), 4, [3], 1, [], num_heads=5)
    with pytest.raises(UserError, match=r"model.groups=6 must divide the channels \[4, 12\]"):
        UNet((1, 8, 8), 4, [3], 1, [], groups=6)


def test_checkpointing_keeps_less_and_changes_no_gradient():
    """Dropout included: what is computed again drops out the same."""
    kept, gradients = [], []
    for checkpointing in (False, True):
        net = trained_like(small(channels=16, dropout=0.5, num_classes=3, checkpointing=checkpointing)).train()
        sizes = []
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            out = net(torch.randn(4, 1, 8, 8), torch.arange(4.0), torch.arange(4) % 3)
        out.square().sum().backward()
        kept.append(sum(sizes))
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert kept[1] < kept[0] / 4
