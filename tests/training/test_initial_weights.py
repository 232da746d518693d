"""init_from: what fits is taken, what does not is named and stays new."""

import logging

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.build import build_module
from inkwash.training.initial_weights import take_weights
from support.autoencoders import blocks
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


# --- On latents -------------------------------------------------------------------------------------------------------

ON_LATENTS = ("autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]}", "loss=consistency")
EDM = ("schedule=edm", "prediction=edm")
STD = "autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4], std: 0.5}"


def of_latents(module, ae):
    return stored(module, latents={"autoencoder": ae.fingerprint, **ae.normalisation()})


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ((), "autoencoder=none, .* has support.autoencoders.Blocks: Consistency"),
        ((STD,), r"autoencoder.std=0.5, and this training has None"),
        (
            (ON_LATENTS[0],),
            r"autoencoder.path=weights f{8}, .* has weights \w{8}: .* of the same latents",
        ),
    ],
)
def test_other_latents_are_refused_by_a_loss_that_tunes_and_named_by_others(there, message, caplog, tmp_path):
    """Another autoencoder, none at all, another deviation, or other weights behind the same path."""
    caplog.set_level(logging.INFO, "inkwash")
    ae = blocks([1, 8, 8])
    checkpoint = stored(module_of(*EDM, *there))
    if there:
        checkpoint["latents"] = {"autoencoder": "f" * 32, **ae.normalisation()}
    with pytest.raises(UserError, match=message):
        take_weights(tmp_path, checkpoint, module_of(*EDM, *ON_LATENTS), ae)
    take_weights(tmp_path, checkpoint, module_of(*EDM, ON_LATENTS[0]), ae)
    assert len(lines(caplog, "differs      autoencoder")) == 1
    assert not ae.measured


def test_the_same_latents_keep_their_normalisation_where_a_loss_goes_on_from_them(caplog, tmp_path):
    caplog.set_level(logging.INFO, "inkwash")
    there, here = blocks([1, 8, 8]), blocks([1, 8, 8], batch_size=3)
    there.restore({"mean": [1.0] * 4, "dev": [2.0] * 4})
    checkpoint = of_latents(module_of(*EDM, ON_LATENTS[0]), there)
    take_weights(tmp_path, checkpoint, module_of(*EDM, ON_LATENTS[0]), here)
    assert not here.measured  # by images of its own
    take_weights(tmp_path, checkpoint, module_of(*EDM, *ON_LATENTS), here)
    assert here.normalisation() == there.normalisation()
    assert here.measured
    assert lines(caplog, "differs") == []
