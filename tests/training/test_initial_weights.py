"""init_from: what fits is taken, what does not is named and stays new."""

import logging

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.build import build_module
from inkwash.training.initial_weights import take_weights
from support.runs import composed

SMALL = ("model.channels=8", "averages.slow={_target_: inkwash.training.ema.ConstantDecay, decay: 0.999}")


def module_of(*overrides):
    return build_module(composed("++" + SMALL[1], SMALL[0], *overrides))


def stored(module, **more):
    with torch.no_grad():
        for parameter in module.ema_denoiser.parameters():
            parameter.add_(1.0)
    return {"state_dict": module.state_dict(), "global_step": 7, "config": module.config, **more}


def lines(caplog, word):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(word)]


def test_another_number_of_classes(caplog, tmp_path):
    """The digits' 10 classes, then 5: the class embedding is new, all else is taken."""
    caplog.set_level(logging.INFO, "inkwash")
    old = module_of()
    checkpoint = stored(old)
    new = module_of("model.num_classes=5", "data.num_classes=5")
    before = new.denoiser.net.label.weight.clone()
    take_weights(tmp_path, checkpoint, new)
    assert lines(caplog, "new") == ["new          net.label.weight: [6, 32] here, [11, 32] there"]
    assert torch.equal(new.denoiser.net.label.weight, before)
    for denoiser in (new.denoiser, new.ema_denoiser, new.averages["slow"]):
        assert torch.equal(denoiser.net.input.weight, old.ema_denoiser.net.input.weight)
        assert torch.equal(denoiser.net.label.weight, before)


def test_other_channels_of_the_images(caplog, tmp_path):
    caplog.set_level(logging.INFO, "inkwash")
    new = module_of("data.shape=[3,8,8]")
    take_weights(tmp_path, stored(module_of()), new)
    names = [line.split()[1] for line in lines(caplog, "new")]
    assert names == ["net.input.weight:", *[name for name in names if name.startswith("net.output")]]
    assert len(names) == 3  # weight in, weight and bias out


def test_without_classes_here(caplog, tmp_path):
    caplog.set_level(logging.INFO, "inkwash")
    take_weights(tmp_path, stored(module_of()), module_of("model.num_classes=null"))
    assert lines(caplog, "new") == []
    assert lines(caplog, "left out") == ["left out     net.label.weight: [11, 32] there, not here"]


def test_another_network_is_refused(tmp_path):
    with pytest.raises(UserError, match="is of another network: choose its model .of .* numbers of this network"):
        take_weights(tmp_path, stored(module_of()), module_of("model.channels=16"))
