import copy
import logging

import pytest
import torch
from torch import nn

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


def test_without_a_compiler_the_network_goes_on_as_written(net, caplog):
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


def test_compile_must_work_when_told_so(net):
    compile_network(net, must=True)
    with BROKEN, pytest.raises(torch._dynamo.exc.TorchDynamoException):
        net(torch.randn(4, 3))


def test_an_error_of_the_network_itself_is_not_taken_for_one_of_the_compiler(net, caplog):
    compile_network(net)
    with BROKEN, pytest.raises(RuntimeError, match="shapes"):
        net(torch.randn(4, 5))
    assert not warnings_of(caplog)
