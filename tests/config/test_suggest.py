"""The message about an unknown key names the one that was meant."""

import pytest

from inkwash.commands import train


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sampler.spacing.steps=20", "spacing.steps"),
        ("sampler.steps=20", "spacing.steps"),
        ("callbacks.samples.sampler.eta=1", "sampler.eta, of sampler=ddim or ddim_dynamic or euler"),
        ("loss.weighting.gamma=5", "weighting.gamma, of weighting=min_snr or p2 or soft_min_snr"),
        (
            "callbacks.evaluation.extractor.weight_path=x",
            "extractor.weights_path, of extractor=clip or dinov2 or inception",
        ),
        ("optimizer.lrr=1", "optimizer.lr"),
        ("callbacks.samples.num_image=1", "callbacks.samples.num_images, of callbacks=default"),
        ("callbacks.evaluation.num_image=1", "callbacks.evaluation.num_images, of callbacks=default"),
        ("callbacks.sampels.num_images=1", "callbacks.samples, of callbacks=default"),
        ("callbacks.evaluation.guiadnce=2", "callbacks.evaluation.guidance, of callbacks=default"),
        ("callbacks.evaluation.weighst=[raw]", "callbacks.evaluation.weights, of callbacks=default"),
        ("callbacks.heldout.bath_size=4", "callbacks.heldout.batch_size, of callbacks=default"),
        ("metrics.acccuracy.batch_size=1", "metrics.accuracy, of metrics=accuracy"),
        ("spacing.stpes=20", "spacing.steps"),
        ("augment.p=0.3", "augment.p, of augment=edm"),
        ("sed=1", "seed"),
    ],
)
def test_the_key_that_was_meant_is_named(typed, meant, ends):
    assert ends(train.main, typed).endswith(f"; did you mean {meant}?")
