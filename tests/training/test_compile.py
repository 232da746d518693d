"""torch.compile, and the way back from it."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from inkwash.nets.dit import DiT
from inkwash.nets.transformer import Block
from inkwash.training.build import build_module
from inkwash.training.compile import compile_network, equal_blocks

BROKEN = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})


@pytest.fixture
def net():
    torch._dynamo.reset()
    yield nn.Sequential(nn.Linear(3, 3), nn.SiLU())
    torch._dynamo.reset()


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("inkwash")]


@pytest.mark.slow  # a minute of compiling
def test_compiling_changes_speed_alone(net, caplog):
    x, names = torch.randn(4, 3), list(net.state_dict())
    expected = net(x)
    compile_network(net)
    torch.testing.assert_close(net(x), expected)
    assert list(net.state_dict()) == names
    assert not warnings_of(caplog)


def test_without_a_compiler_the_network_goes_on_uncompiled(net, caplog):
    x, plain = torch.randn(4, 3), copy.deepcopy(net)
    compile_network(net)
    with BROKEN, caplog.at_level(logging.WARNING, "inkwash"):
        for _ in range(2):
            net.zero_grad()
            net(x).sum().backward()
    plain(x).sum().backward()
    for mine, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
    [warning] = warnings_of(caplog)
    assert "compiler" in warning


def test_a_batch_that_is_too_large_does_not_end_compiling(net, caplog):
    calls = []

    def backend(graph, inputs):
        def run(*arguments):
            calls.append(len(calls))
            if len(calls) == 1:
                raise torch.OutOfMemoryError
            return graph.forward(*arguments)

        return run

    compile_network(net, backend=backend)
    with torch.no_grad():
        with pytest.raises(torch.OutOfMemoryError):
            net(torch.randn(4, 3))
        net(torch.randn(4, 3))
    assert len(calls) == 2
    assert not warnings_of(caplog)


def test_compile_must_raises_its_error(net):
    compile_network(net, must=True)
    with BROKEN, pytest.raises(torch._dynamo.exc.TorchDynamoException):
        net(torch.randn(4, 3))


def test_an_error_of_the_network_itself_is_raised(net, caplog):
    compile_network(net)
    with BROKEN, pytest.raises(RuntimeError, match="shapes"):
        net(torch.randn(4, 5))
    assert not warnings_of(caplog)


# --- Block by block -------------------------------------------------------------------------------------------------


def transformer(**options):
    torch.manual_seed(0)
    net = DiT((1, 8, 8), 2, 16, 4, 2, num_classes=3, rotary=True, **options)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net


def test_equal_blocks_compile_once_for_all(caplog):
    """Four blocks in one piece of code, whose gradients are those of the plain network."""
    torch._dynamo.reset()
    counter, net, plain = CompileCounter(), transformer(), transformer()
    compile_network(net, must=True, backend=counter)
    x, t, y = torch.randn(3, 1, 8, 8), torch.tensor([1.0, 9, 900]), torch.tensor([0, 2, -1])
    for network in (net, plain):
        network(x, t, y).square().sum().backward()
    assert counter.frame_count == 1
    for mine, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert net.state_dict().keys() == plain.state_dict().keys()
    torch._dynamo.reset()


def test_what_has_no_equal_blocks_is_compiled_whole(compose_config):
    assert len(equal_blocks(transformer())) == 4
    assert equal_blocks(build_module(compose_config("model.channels=8")).denoiser.net) == []
    assert equal_blocks(nn.Sequential(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 3)]))) == []
    assert equal_blocks(nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))) == []


def test_blocks_give_up_together(caplog):
    torch._dynamo.reset()
    net, plain = transformer(), transformer()
    compile_network(net)
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([1.0, 9, 900])
    with BROKEN, caplog.at_level(logging.WARNING, "inkwash"):
        assert torch.equal(net(x, t), plain(x, t))
    assert len(warnings_of(caplog)) == 1
    assert all(block.forward.__func__ is Block.forward for block in net.blocks)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("model.channels=8",), ("model=dit_digits", "model.width=16", "model.num_heads=2")], ids=["UNet", "DiT"]
)
def test_compiled_networks_have_the_same_keys(compose_config, options):
    plain = build_module(compose_config(*options))
    compiled = build_module(compose_config(*options))
    for denoiser in (compiled.denoiser, compiled.ema_denoiser):
        compile_network(denoiser.net, backend="aot_eager")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 900.0])
    torch.testing.assert_close(plain.denoiser(x, t), compiled.denoiser(x, t))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    plain.load_state_dict(compiled.state_dict())
