"""Map the straight path of rectified flow to diffusers' FlowMatchEulerDiscreteScheduler, and back.

Both write x_t = (1 - t) x_0 + t eps and regress dx_t / dt = eps - x_0; their sigma is our t, and both networks are
given 1000 t. Their times run evenly from 1 to 1 / 1000 and then to 0, which is spacing=linspace here, and their step is
Euler's without clipping, sampler=euler.
"""

from collections.abc import Mapping
from typing import Any

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process.schedules import FlowSchedule

KIND = "FlowMatchEulerDiscreteScheduler"
LAST_TIME = 1e-3  # the least noisy time that they visit
# The value of each field that has a counterpart here; its default in diffusers, too.
FIXED: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
    "invert_sigmas": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "stochastic_sampling": False,
}
# Fields of use_dynamic_shifting, without effect.
UNUSED = ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "time_shift_type")


def flow_config(denoiser: Denoiser) -> dict[str, Any]:
    """Return the scheduler's configuration.

    Raises:
        UserError: the prediction or the path's end has no counterpart; the sentence names the key.
    """
    schedule, prediction = denoiser.schedule, denoiser.prediction.name
    assert isinstance(schedule, FlowSchedule)
    if prediction != "flow":
        raise UserError(f"prediction={prediction} on schedule=flow has no counterpart in diffusers, only flow has")
    if schedule.t_min > LAST_TIME:
        raise UserError(
            f"schedule.t_min={schedule.t_min:g} has no counterpart in diffusers, which samples down to "
            f"t={LAST_TIME:g}: use format=safetensors"
        )
    return dict(FIXED)


def flow_overrides(config: Mapping[str, Any]) -> list[str]:
    """Return overrides of conf/train.yaml for the scheduler's fields.

    Raises:
        UserError: something cannot be represented; the sentence names the field.
    """
    for key, value in config.items():
        if key.startswith("_") or key in UNUSED or value == FIXED.get(key):
            continue
        if key in FIXED:
            raise UserError(f"{key}={value} cannot be represented, only {FIXED[key]}")
        raise UserError(f"{key} is unknown to Inkwash: take it out if the images are the same without")
    return ["schedule=flow", "prediction=flow", "sampler=euler", "spacing=linspace"]
