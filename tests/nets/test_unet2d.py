"""The U-Net against diffusers' UNet2DModel: the same weights make the same function, both ways."""

import inspect

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding

from inkwash.errors import UserError
from inkwash.interop.unet_config import DEFAULTS, FIXED, unet2d_config, unet_arguments
from inkwash.interop.unet_weights import from_unet2d, to_unet2d, weight_names
from inkwash.nets.blocks import sinusoidal_embedding
from inkwash.nets.unet import UNet

CIFAR10 = {
    "shape": [3, 32, 32], "channels": 128, "channel_mult": [1, 2, 2, 2], "num_res_blocks": 2,
    "attention_resolutions": [16], "dropout": 0.1, "pad_all_sides": False,
}  # fmt: skip
SMALL = {
    "shape": [1, 8, 8], "channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [],
}  # fmt: skip
CASES = {
    "cifar10": CIFAR10,
    "small": SMALL,
    "classes": SMALL | {"num_classes": 10},
    "learned variance": SMALL | {"shape": [3, 8, 8], "learn_variance": True},
    "oblong, heads, three levels": SMALL
    | {"shape": [2, 16, 24], "channel_mult": [1, 1, 2], "attention_resolutions": [4], "num_heads": 4},
    "attention everywhere": SMALL | {"shape": [1, 16, 16], "attention_resolutions": [16, 8], "pad_all_sides": False},
}


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
    labels = {} if classes is None else {"class_labels": torch.tensor([3, classes])}
    with torch.no_grad():
        a = ours.to(dtype)(x, torch.tensor(times).float(), None if classes is None else torch.tensor([3, -1]))
        b = theirs.to(dtype)(x, torch.tensor(times), **labels).sample
    assert a.std() > 0.03
    return (a - b).abs().max().item()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_same_weights_make_the_same_function(pair, dtype, tolerance):
    assert difference(*pair, (1, 999), dtype) < tolerance


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
    call = inspect.signature(UNet).bind(**arguments)
    call.apply_defaults()
    assert unet_arguments(dict(theirs.config)) == call.arguments


def test_cifar10_is_the_published_configuration():
    """google/ddpm-cifar10-32, converted from Ho et al.'s own weights."""
    published = {
        "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": False, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-6,
        "norm_num_groups": 32, "sample_size": 32, "time_embedding_type": "positional",
    }  # fmt: skip
    assert published.items() <= unet2d_config(**CIFAR10).items()
    assert unet_arguments({"_class_name": "UNet2DModel", **published}) == unet_arguments(
        unet2d_config(**CIFAR10 | {"dropout": 0.0})
    )


def test_the_menus_cifar10_network_is_that_one(compose_config):
    node = compose_config("model=unet_cifar10", "data=cifar10", "data.path=x")["model"]
    assert unet2d_config(**{k: v for k, v in node.items() if k != "_target_"}) == unet2d_config(**CIFAR10)


@pytest.mark.parametrize("dim", [32, 33, 128])
def test_time_embeddings_are_equal_to_the_last_bit(dim):
    t = torch.arange(1000)
    assert torch.equal(sinusoidal_embedding(t.float(), dim), get_timestep_embedding(t, dim, False, 1))


def test_we_know_what_a_missing_field_means():
    theirs = {name: p.default for name, p in inspect.signature(UNet2DModel).parameters.items()}
    ours = {name: tuple(value) if isinstance(value, list) else value for name, value in (FIXED | DEFAULTS).items()}
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 2}, "model.patch_size=2"),
        ({"channel_mult": [2, 2]}, r"model.channel_mult=\[2, 2\] must begin with 1"),
        ({"num_heads": 4, "attention_resolutions": [8]}, r"model.num_heads=4 on attention maps \[32, 64\]"),
    ],
)
def test_what_they_cannot_express_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        unet2d_config(**SMALL | change)


@pytest.mark.parametrize(
    "change",
    [
        {"freq_shift": 0}, {"flip_sin_to_cos": True}, {"norm_eps": 1e-5}, {"act_fn": "gelu"}, {"norm_num_groups": 16},
        {"attn_norm_num_groups": 8}, {"add_attention": False}, {"resnet_time_scale_shift": "scale_shift"},
        {"downsample_type": "resnet"}, {"upsample_type": "resnet"}, {"mid_block_type": None}, {"out_channels": 3},
        {"time_embedding_type": "fourier"}, {"center_input_sample": True}, {"class_embed_type": "timestep"},
        {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, {"up_block_types": ["AttnUpBlock2D", "UpBlock2D"]},
        {"down_block_types": ["DownBlock2D"] * 3}, {"downsample_padding": 2}, {"block_out_channels": [32, 48]},
        {"sample_size": None}, {"attention_head_dim": 48}, {"mid_block_scale_factor": 2}, {"novelty": 1},
        {"time_embedding_dim": 64},
    ],
    ids=str,
)  # fmt: skip
def test_what_we_cannot_represent_is_refused_by_name(change):
    with pytest.raises(UserError, match=f"^{next(iter(change))}"):
        unet_arguments(unet2d_config(**SMALL) | change)


def test_heads_by_their_width():
    assert unet_arguments(unet2d_config(**SMALL) | {"attention_head_dim": 8})["num_heads"] == 8
    with pytest.raises(UserError, match="attention_head_dim=8 cannot be represented"):
        unet_arguments(unet2d_config(**SMALL | {"attention_resolutions": [8]}) | {"attention_head_dim": 8})


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
