"""The straight path of rectified flow as diffusers' FlowMatchEulerDiscreteScheduler, both ways."""

import json

import pytest
import torch
from diffusers import DDPMPipeline, FlowMatchEulerDiscreteScheduler

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.interop.flow_scheduler import FIXED, UNUSED
from inkwash.interop.pipeline import export_diffusers
from inkwash.interop.pipeline_import import import_diffusers
from inkwash.run import load_run
from support.interop import SCHEDULER, edit, images

FLOW = ("data.shape=[3,8,8]", "model.num_classes=null", "schedule=flow", "prediction=flow")
EULER = ("sampler=euler", "spacing=linspace", "spacing.steps=10")


def test_our_euler_is_theirs_step_by_step_and_back(untrained, tmp_path):
    directory = untrained(*FLOW, *EULER)
    run, out = load_run(directory), export_diffusers(directory, tmp_path / "out")
    pipe, sampler, seen = DDPMPipeline.from_pretrained(out), build(run.config["sampler"]), []
    assert isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
    x = images()
    last = sampler(run.denoiser, lambda: x, watch=lambda x_t, t, x_0: seen.append((x_t, float(t[0]))))
    pipe.scheduler.set_timesteps(10)
    for t, (x_t, time) in zip(pipe.scheduler.timesteps, seen, strict=True):
        assert float(t) / 1000 == pytest.approx(time, abs=1e-6)
        torch.testing.assert_close(x, x_t, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x).prev_sample
    torch.testing.assert_close(x, last, rtol=1e-5, atol=1e-5)
    back = load_run(import_diffusers(out, tmp_path / "back"))
    assert all(back.config[key] == run.config[key] for key in ("model", "schedule", "prediction"))
    assert back.config["spacing"]["_target_"] == run.config["spacing"]["_target_"]
    assert build(back.config["sampler"]).clip is None
    for name, value in run.denoiser.state_dict().items():
        assert torch.equal(value, back.denoiser.state_dict()[name])


def test_the_fields_are_all_those_of_theirs():
    theirs = {key: value for key, value in FlowMatchEulerDiscreteScheduler().config.items() if not key.startswith("_")}
    assert {key: value for key, value in theirs.items() if key not in UNUSED} == FIXED


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("prediction=v",), "prediction=v on schedule=flow has no counterpart in diffusers, only flow has"),
        (("schedule.t_min=0.01",), "schedule.t_min=0.01 has no counterpart in diffusers, .* down to t=0.001"),
    ],
)
def test_what_it_cannot_express_is_refused(overrides, message, untrained, tmp_path):
    directory = untrained(*FLOW, *overrides)
    with pytest.raises(UserError, match=message):
        export_diffusers(directory, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [{"shift": 3.0}, {"use_dynamic_shifting": True}, {"num_train_timesteps": 500}])
def test_what_we_cannot_represent_is_refused(change, untrained, tmp_path):
    out = export_diffusers(untrained(*FLOW), tmp_path / "out")
    edit(out / SCHEDULER, **change)
    with pytest.raises(UserError, match=f"{SCHEDULER}: {next(iter(change))}=.* cannot be represented, only"):
        import_diffusers(out, tmp_path / "back")
    edit(out / SCHEDULER, **{key: FIXED[key] for key in change}, surprise=1)
    with pytest.raises(UserError, match="surprise is unknown to Inkwash"):
        import_diffusers(out, tmp_path / "back")
    assert json.loads((out / "model_index.json").read_text())["_class_name"] == "DDPMPipeline"
