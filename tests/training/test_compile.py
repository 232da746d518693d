"""torch.compile, and the way back from it."""

import copy
import logging

import pytest
import torch
from torch import nn

from inkwash.training.build import build_module
from inkwash.training.compile import compile_network

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


def test_compile_must_raises_its_error(net):
    compile_network(net, must=True)
    with BROKEN, pytest.raises(torch._dynamo.exc.TorchDynamoException):
        net(torch.randn(4, 3))


def test_an_error_of_the_network_itself_is_raised(net, caplog):
    compile_network(net)
    with BROKEN, pytest.raises(RuntimeError, match="shapes"):
        net(torch.randn(4, 5))
    assert not warnings_of(caplog)


@pytest.mark.slow
def test_compiled_networks_have_the_same_keys(compose_config):
    plain = build_module(compose_config("model.channels=8"))
    compiled = build_module(compose_config("model.channels=8"))
    for denoiser in (compiled.denoiser, compiled.ema_denoiser):
        compile_network(denoiser.net, backend="aot_eager")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 900.0])
    torch.testing.assert_close(plain.denoiser(x, t), compiled.denoiser(x, t))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    plain.load_state_dict(compiled.state_dict())
