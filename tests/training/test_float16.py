"""float16 with a scaled loss, as on a GPU: torch can do it on a CPU too, where Lightning would take bfloat16."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from inkwash.errors import UserError
from support.training import NO_METRIC, checkpoint, rows, weights

FP16 = (NO_METRIC, "optimizer.fused=false", "callbacks.log.every_n_steps=1", "callbacks.guard.every_n_steps=1")


@pytest.fixture
def half(monkeypatch):
    """half(scale, growth_interval): trainings from now on are in float16 and begin with that scale of the loss."""
    Trainer = L.Trainer

    def begin(scale, growth_interval=2000):
        def build(*, plugins, precision, **options):
            scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)
            return Trainer(plugins=[*plugins, MixedPrecision("16-mixed", "cpu", scaler)], **options)

        monkeypatch.setattr(L, "Trainer", build)

    return begin


def column(directory, name):
    return {row["step"]: row[name] for row in rows(directory) if name in row}


@pytest.mark.slow
def test_a_hundred_steps_stay_finite_and_the_scale_is_logged(fit_run, half):
    half(2.0**10, growth_interval=50)
    directory, _, module = fit_run("run", *FP16, "trainer.max_steps=100", "learning_rate.total_steps=100")
    assert bool(weights(module.denoiser).isfinite().all())
    scales, losses = column(directory, "train/loss_scale"), [*column(directory, "train/loss").values()]
    assert (scales[49], scales[50], scales[100]) == (2**10, 2**11, 2**12)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.slow
def test_gradients_are_clipped_as_in_float32(fit_run, half):
    """Clipped before they are unscaled, or unscaled twice, they would be larger or smaller by the scale."""
    options = (*FP16, "optimizer=adamw", "trainer.max_steps=1")
    whole, _, _ = fit_run("whole", *options)
    before = column(whole, "train/grad_norm")
    half(2.0**10)
    directory, _, _ = fit_run("half", *options)
    assert column(directory, "train/grad_norm") == pytest.approx(before, rel=0.02)
    assert before[1] > 1  # what trainer.gradient_clip_val leaves of it
    for place in (whole, directory):  # a tenth of the first gradient is Adam's first moment
        moments = [state["exp_avg"] for state in checkpoint(place)["optimizer_states"][0]["state"].values()]
        assert torch.cat([m.flatten() for m in moments]).norm() == pytest.approx(0.1, rel=0.01)


def test_a_scale_that_is_too_large_costs_steps_and_nothing_else(fit_run, half):
    """The guard does not take an infinite gradient for the end: the scale is halved until there is none."""
    half(2.0**21)
    witness = "+callbacks.witness._target_=support.parts.Witness"
    directory, _, _ = fit_run("run", *FP16, "trainer.max_steps=8", witness)
    scales = column(directory, "train/loss_scale")
    moved = [not torch.equal(*(torch.load(directory / f"weights-0-{at}.pt") for at in (s - 1, s))) for s in range(2, 9)]
    halved = [scales[s] < scales[s - 1] for s in range(2, 9)]
    assert moved == [not left_out for left_out in halved]
    assert halved[:2] == [True, True]
    assert not halved[-1]
    assert bool(torch.load(directory / "weights-0-8.pt").isfinite().all())


@pytest.mark.slow
def test_a_resume_takes_the_scale_along(fit_run, half):
    options = (*FP16, "learning_rate.total_steps=6", "model.dropout=0.1")
    half(2.0**10, growth_interval=2)
    whole, _, _ = fit_run("whole", *options, "trainer.max_steps=6")
    fit_run("parts", *options, "trainer.max_steps=3")
    half(1.0)
    parts, _, _ = fit_run("parts", *options, "trainer.max_steps=6")
    a, b = (checkpoint(directory) for directory in (whole, parts))
    assert a["MixedPrecision"] == b["MixedPrecision"]
    assert a["MixedPrecision"]["scale"] == 2**13
    assert all(torch.equal(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_fused_optimizer_is_refused(fit_run, half, optimizer):
    half(2.0**10)
    with pytest.raises(UserError, match=r"trainer.precision=16-mixed clips right only with optimizer.fused=false"):
        fit_run("run", NO_METRIC, f"optimizer={optimizer}")
