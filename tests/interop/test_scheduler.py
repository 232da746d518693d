"""A run's path, prediction and sampler as DDPMScheduler's fields, both ways."""

import inspect
import json

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.interop import scheduler
from inkwash.interop.pipeline import export_diffusers
from inkwash.interop.pipeline_import import import_diffusers
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.clipping import DynamicThreshold
from support.interop import LEARNED, SCHEDULER, UNCONDITIONAL, images, one_step
from support.selection import mostly_slow

DYNAMIC = "sampler.clip={_target_: inkwash.samplers.clipping.DynamicThreshold, quantile: 0.9}"
STEPS = {
    "eps": ("schedule=linear", "prediction=eps", "spacing=leading"),
    "x0": ("schedule=cosine", "prediction=x0", "sampler.clip=null"),
    "v": ("schedule=quadratic", "prediction=v", "sampler.variance._target_=inkwash.process.variances.FixedSmall"),
    "zero terminal SNR": ("schedule=linear", "schedule.zero_terminal_snr=true", "prediction=v"),
    "listed betas": ("schedule=cosine", "schedule.betas.s=0.02", "prediction=v", "sampler.clip=0.8"),
    "a longer chain": ("schedule=linear", "schedule.betas.T=1200", "prediction=eps"),
    "learned variance": (*LEARNED, "schedule=cosine", "prediction=eps"),
    "dynamic threshold": ("schedule=cosine", "prediction=x0", DYNAMIC),
}


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("overrides", mostly_slow(STEPS, "eps", "zero terminal SNR", "learned variance"))
def test_a_step_is_the_same_there_and_back(overrides, untrained, tmp_path):
    """A step of the exported scheduler is our ancestral one, on the same noise; and importing undoes exporting."""
    directory = untrained(*UNCONDITIONAL, *overrides, "spacing.steps=null")
    run, out = load_run(directory), export_diffusers(directory, tmp_path / "out")
    pipe, sampler = DDPMPipeline.from_pretrained(out), build(run.config["sampler"])
    x, z = images(), images(seed=2)
    for t in (pipe.scheduler.config.num_train_timesteps - 1, 500, 100):
        output = pipe.unet(x, t).sample.detach()
        theirs = pipe.scheduler.step(output, t, x, generator=torch.Generator().manual_seed(2)).prev_sample
        torch.testing.assert_close(one_step(sampler, run.denoiser, x, t + 1, z), theirs, rtol=1e-5, atol=1e-5)
    back = load_run(import_diffusers(out, tmp_path / "back"))
    assert back.denoiser.state_dict().keys() == run.denoiser.state_dict().keys()
    assert all(
        torch.equal(value, back.denoiser.state_dict()[name]) for name, value in run.denoiser.state_dict().items()
    )
    assert torch.equal(back.denoiser.schedule.betas, run.denoiser.schedule.betas)
    assert all(back.config[key] == run.config[key] for key in ("model", "prediction", "sampler", "spacing"))


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        (("schedule=linear",), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
        (("schedule=linear", "schedule.betas.scale_with_T=true"), {"beta_schedule": "linear"}),
        (
            ("schedule=quadratic", "schedule.betas.beta_end=0.015"),
            {"beta_schedule": "scaled_linear", "beta_end": 0.015},
        ),
        (("schedule=cosine",), {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": False}),
        (("schedule=cosine", "schedule.zero_terminal_snr=true"), {"rescale_betas_zero_snr": True}),
        (
            ("sampler=ddim", "sampler.clip=0.9", "spacing=linspace"),
            {"clip_sample_range": 0.9, "timestep_spacing": "linspace"},
        ),
        (("sampler=ddim", "sampler.clip=null"), {"clip_sample": False, "variance_type": "fixed_large"}),
    ],
)
def test_names_of_theirs_are_used_where_they_exist(overrides, fields, untrained, tmp_path):
    out = export_diffusers(untrained(*UNCONDITIONAL, *overrides), tmp_path / "out")
    scheduler = json.loads((out / SCHEDULER).read_text())
    assert fields.items() <= scheduler.items()
    assert scheduler["trained_betas"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "exp"}, {"prediction_type": "flow"}, {"thresholding": True},
        {"variance_type": "fixed_large_log"}, {"variance_type": "learned_range"}, {"timestep_spacing": "log"},
        {"steps_offset": 1}, {"trained_betas": [0.1, 0.2]}, {"novelty": True},
    ],
    ids=str,
)  # fmt: skip
def test_schedulers_we_cannot_represent_are_refused_by_name(change):
    with pytest.raises(UserError, match=f"^{next(iter(change))}"):
        scheduler.overrides(change, learn_variance=False)


def test_dynamic_thresholding_is_theirs_without_a_bound(untrained, tmp_path):
    """Of images far beyond 1, and of such within it; and it comes back, unless s is bounded there."""
    directory = untrained(*UNCONDITIONAL, "schedule=cosine", DYNAMIC)
    theirs = DDPMScheduler.from_pretrained(export_diffusers(directory, tmp_path / "out") / "scheduler")
    for x_0 in (30 * images(), 0.1 * images()):
        assert torch.equal(theirs._threshold_sample(x_0), DynamicThreshold(0.9)(x_0))
    assert theirs.config.thresholding
    back = load_run(import_diffusers(tmp_path / "out", tmp_path / "back"))
    assert back.config["sampler"]["clip"] == RunDirectory(directory).config["sampler"]["clip"]
    with pytest.raises(UserError, match="^thresholding=True with sample_max_value=1.5 cannot be represented"):
        scheduler.overrides({"thresholding": True, "sample_max_value": 1.5}, learn_variance=False)


def test_a_clip_without_counterpart_is_refused_by_name(untrained, tmp_path):
    directory = untrained(*UNCONDITIONAL, "schedule=cosine", "sampler.clip={_target_: support.samplers.Halved}")
    with pytest.raises(UserError, match="sampler.clip: Halved has no counterpart in diffusers, only a bound, null and"):
        export_diffusers(directory, tmp_path / "out")
    static = "sampler.clip={_target_: inkwash.samplers.clipping.StaticClip, bound: 0.9}"
    out = export_diffusers(untrained(*UNCONDITIONAL, "schedule=cosine", static, name="static"), tmp_path / "static-out")
    fields = json.loads((out / SCHEDULER).read_text())
    assert (fields["clip_sample"], fields["clip_sample_range"], fields["thresholding"]) == (True, 0.9, False)


def test_we_know_what_a_missing_field_means():
    theirs = {name: p.default for name, p in inspect.signature(DDPMScheduler).parameters.items()}
    assert theirs == scheduler.DEFAULTS
