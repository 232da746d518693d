"""The U-Net against diffusers' UNet2DModel: the same weights make the same function, both ways."""

import inspect

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding

from inkwash.errors import UserError
from inkwash.interop.unet_config import unet2d_config, unet_arguments
from inkwash.interop.unet_weights import from_unet2d, to_unet2d, weight_names
from inkwash.nets.blocks import sinusoidal_embedding
from inkwash.nets.unet import UNet
from support.interop import CIFAR10, SMALL

CASES = {
    "cifar10": CIFAR10,
    "small": SMALL,
    "classes": SMALL | {"num_classes": 10},
    "learned variance": SMALL | {"shape": [3, 8, 8], "learn_variance": True},
    "oblong, heads, three levels": SMALL
    | {"shape": [2, 16, 24], "channel_mult": [1, 1, 2], "attention_resolutions": [4], "num_heads": 4},
    "attention everywhere": SMALL | {"shape": [1, 16, 16], "attention_resolutions": [16, 8], "pad_all_sides": False},
    "from elsewhere": SMALL
    | {
        "freq_shift": 0,
        "cos_first": True,
        "norm_eps": 1e-5,
        "groups": 16,
        "head_dim": 16,
        "attention_resolutions": [8],
    },
    "scale and shift": SMALL | {"scale_shift": True, "middle_groups": 0, "channel_mult": [1, 1.5]},
    "scale and shift, norms": SMALL | {"scale_shift": True, "middle_groups": 4, "num_classes": 3, "no_label": False},
    "no attention": SMALL | {"middle_attention": False, "groups": 32},
}


def complete(arguments):
    """The arguments of a UNet with those that are left out."""
    call = inspect.signature(UNet).bind(**arguments)
    call.apply_defaults()
    return call.arguments


def shaken(net, seed):
    """The network with no two weights alike: those that start as 0 or 1 would hide what is mixed up."""
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.data += 0.01 * torch.randn(p.shape, generator=generator)
    return net.eval()


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def pair(request):
    """The arguments of a network, ours, and theirs with the same weights."""
    arguments = request.param
    torch.manual_seed(0)
    ours, theirs = shaken(UNet(**arguments), 0), UNet2DModel(**unet2d_config(**arguments)).eval()
    theirs.load_state_dict(to_unet2d(ours, ours.state_dict()))
    return arguments, ours, theirs


def difference(arguments, ours, theirs, times, dtype):
    """Largest absolute difference of the outputs for two images at two times, with class 3 and no label."""
    classes = arguments.get("num_classes")
    x = torch.randn(2, *arguments["shape"], generator=torch.Generator().manual_seed(1), dtype=dtype)
    last = (classes or 0) - (not arguments.get("no_label", True))
    labels = {} if classes is None else {"class_labels": torch.tensor([1, last])}
    y = None if classes is None else torch.tensor([1, -1 if last == classes else last])
    with torch.no_grad():
        a = ours.to(dtype)(x, torch.tensor(times).float(), y)
        b = theirs.to(dtype)(x, torch.tensor(times), **labels).sample
    assert a.std() > 0.03
    return (a - b).abs().max().item()


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_same_weights_make_the_same_function(pair, dtype, tolerance):
    assert difference(*pair, (1, 999), dtype) < tolerance


@pytest.mark.sampled(every=5)
def test_their_weights_make_our_function(pair):
    """A fresh network of theirs, which starts from other numbers."""
    arguments, ours, _ = pair
    torch.manual_seed(1)
    theirs = shaken(UNet2DModel(**unet2d_config(**arguments)), 1)
    with torch.device("meta"):
        twin = UNet(**arguments).eval()
    twin.load_state_dict(from_unet2d(ours, theirs.state_dict()), assign=True)
    assert difference(arguments, twin, theirs, (700, 30), torch.float64) < 1e-12


def test_every_weight_has_one_place(pair):
    _, ours, theirs = pair
    names = weight_names(ours)
    flat = [name for parts in names.values() for name in parts]
    assert names.keys() == ours.state_dict().keys()
    assert len(flat) == len(set(flat))
    assert set(flat) == theirs.state_dict().keys()
    back = from_unet2d(ours, to_unet2d(ours, ours.state_dict()))
    assert all(torch.equal(back[name], value) for name, value in ours.state_dict().items())


def test_the_configuration_comes_back(pair):
    arguments, _, theirs = pair
    last = {} if arguments.get("no_label", True) else {"num_classes": arguments["num_classes"] - 1, "no_label": True}
    assert complete(unet_arguments(dict(theirs.config))) == complete(arguments | last)  # import sets what is missing


@pytest.mark.parametrize("dim", [32, 33, 128])
@pytest.mark.parametrize(("shift", "flip"), [(1, False), (0, True)])
def test_time_embeddings_are_equal_to_the_last_bit(dim, shift, flip):
    t = torch.arange(1000)
    ours = sinusoidal_embedding(t.float(), dim, freq_shift=shift, cos_first=flip)
    assert torch.equal(ours, get_timestep_embedding(t, dim, flip, shift))


def test_early_names_of_attention_layers():
    ours = UNet(**SMALL)
    state = to_unet2d(ours, ours.state_dict())
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        state = {name.replace(f".{new}.", f".{old}."): value for name, value in state.items()}
    assert any(".query." in name for name in state)
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in from_unet2d(ours, state).items())


def test_weights_of_another_network_are_refused():
    net = UNet(**SMALL)
    state = to_unet2d(net, net.state_dict())
    with pytest.raises(UserError, match="conv_in.weight is missing"):
        from_unet2d(net, {name: value for name, value in state.items() if name != "conv_in.weight"})
    with pytest.raises(UserError, match=r"conv_in.weight has the shape \[32, 3, 3, 3\], not \[32, 1, 3, 3\]"):
        from_unet2d(net, state | {"conv_in.weight": torch.zeros(32, 3, 3, 3)})
    with pytest.raises(UserError, match="extra.weight has no place"):
        from_unet2d(net, state | {"extra.weight": torch.zeros(1)})
