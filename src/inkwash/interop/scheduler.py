"""Map a run's path, prediction and sampler to the fields of diffusers' DDPMScheduler, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from inkwash.config.instantiate import build
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.process import betas
from inkwash.process.schedules import BetaSchedule
from inkwash.samplers.clipping import DynamicThreshold, StaticClip, clip_of

T = 1000  # for which the index of the step, which their networks take, is also what ours take by default
# Defaults of DDPMScheduler for fields that its file leaves out.
DEFAULTS: dict[str, Any] = {
    "num_train_timesteps": T,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "prediction_type": "epsilon",
    "variance_type": "fixed_small",
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
}
UNBOUNDED = 1e6  # sample_max_value: they clamp the s of dynamic thresholding to [1, that], we to 1 and more
# Schedules of theirs whose betas we list one by one, which need not be all in one YAML of ours.
LISTED: dict[str, Callable[[int, float, float], Tensor]] = {
    "sigmoid": lambda t, start, end: _linspace(-6, 6, t).sigmoid() * (end - start) + start,  # Xu et al. 2022, GeoDiff
    "laplace": lambda t, *_: betas.from_alpha_bar(_laplace, t),
}
# Values of diffusers, and our names of YAMLs or classes. Of several with the same meaning the last one is written.
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
BETAS = {"linear": "linear", "scaled_linear": "quadratic", "squaredcos_cap_v2": "cosine"}
VARIANCES = {
    "fixed_small_log": "FixedSmall",
    "fixed_small": "FixedSmall",
    "fixed_large": "FixedLarge",
    "learned_range": "LearnedRange",
}
SPACINGS = {"trailing": "Trailing", "leading": "Leading", "linspace": "Linspace"}


def scheduler_config(config: dict[str, Any], denoiser: Denoiser) -> dict[str, Any]:
    """Return DDPMScheduler's configuration: the path and prediction of the training, and the run's sampler if it can.

    Other samplers become the ancestral one, other variances FixedLarge, with the sampler's spacing and clipping.

    Raises:
        UserError: the path or the prediction has no counterpart; the sentence names the key.
    """
    schedule, prediction, sampler = denoiser.schedule, denoiser.prediction.name, config["sampler"]
    if prediction not in PREDICTIONS.values():
        raise UserError(f"prediction={prediction} has no counterpart in diffusers, only eps, x0 and v have")
    if not isinstance(schedule, BetaSchedule):
        raise UserError(f"schedule: {type(schedule).__name__} has no counterpart in diffusers' DDPM, which takes betas")
    return {
        **DEFAULTS,
        "num_train_timesteps": int(schedule.t_max),
        **_beta_fields(config["schedule"]["betas"], schedule),
        "prediction_type": _theirs(PREDICTIONS, prediction),
        "variance_type": _variance(config),
        **_clip_fields(sampler.get("clip")),
        "timestep_spacing": _theirs(SPACINGS, _class_of(sampler.get("spacing")), "trailing"),
    }


def _beta_fields(node: Mapping[str, Any], schedule: BetaSchedule) -> dict[str, Any]:
    """Return the fields of these betas: diffusers' name if one of its schedules equals them, else all values."""
    steps = int(schedule.t_max)
    ends = {key: node.get(key, DEFAULTS[key]) for key in ("beta_start", "beta_end")}
    named: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: betas.linear(steps, **ends),
        "scaled_linear": lambda: betas.quadratic(steps, **ends),
        "squaredcos_cap_v2": lambda: betas.cosine(steps),
    }
    for name, make in named.items():
        for rescale in (False, True):
            if _equal(make, rescale, schedule.betas.cpu()):
                return {"beta_schedule": name, "rescale_betas_zero_snr": rescale, **ends}
    return {"trained_betas": schedule.betas.tolist()}


def _clip_fields(node: Any) -> dict[str, Any]:
    """Return the fields of sampler.clip, a bound, a node or None."""
    clip = clip_of(build(node) if isinstance(node, Mapping) else node)
    if clip is None:
        return {"clip_sample": False}
    if type(clip) is StaticClip:
        return {"clip_sample": True, "clip_sample_range": clip.bound}
    if type(clip) is DynamicThreshold:
        fields = {"dynamic_thresholding_ratio": clip.quantile, "sample_max_value": UNBOUNDED}
        return {"clip_sample": False, "thresholding": True, **fields}
    raise UserError(
        f"sampler.clip: {type(clip).__name__} has no counterpart in diffusers, only a bound, null and DynamicThreshold "
        "have: use format=safetensors"
    )


def _clip(theirs: Mapping[str, Any]) -> str:
    """Return the value of sampler.clip of their fields."""
    if theirs["thresholding"]:
        quantile = theirs["dynamic_thresholding_ratio"]
        return f"{{_target_: {DynamicThreshold.__module__}.{DynamicThreshold.__name__}, quantile: {quantile}}}"
    return str(theirs["clip_sample_range"]) if theirs["clip_sample"] else "null"


def _equal(make: Callable[[], Tensor], rescale: bool, values: Tensor) -> bool:
    """Return whether a schedule of theirs has these betas; a short chain may not allow its ends."""
    try:
        return torch.equal(betas.zero_terminal_snr(make()) if rescale else make(), values)
    except UserError:
        return False


def _variance(config: Mapping[str, Any]) -> str:
    """Return variance_type. With a learned variance it is learned_range even if the run's sampler does not use it."""
    learned = bool(config["model"].get("learn_variance"))
    name = "LearnedRange" if learned else _class_of(config["sampler"].get("variance"))
    return _theirs(VARIANCES, name, "fixed_large")


def _theirs(words: Mapping[str, str], ours: str, default: str = "") -> str:
    """Return diffusers' word for one of ours."""
    return {own: word for word, own in words.items()}.get(ours, default)


def _class_of(node: Mapping[str, Any] | None) -> str:
    return "" if node is None else str(node["_target_"]).rpartition(".")[2]


def overrides(config: Mapping[str, Any], learn_variance: bool, stretch_time: bool = False) -> list[str]:
    """Return overrides of conf/train.yaml: the path, prediction and sampler of DDPMScheduler(**config).

    Betas that are listed one by one are not among them (`listed_betas`).

    Args:
        config: the fields of the scheduler.
        learn_variance: whether the network learns a variance.
        stretch_time: whether the network is given the index of the step stretched to 0..1000.

    Raises:
        UserError: something cannot be represented; the sentence names the field.
    """
    theirs = _checked(config)
    variance, spacing = VARIANCES[theirs["variance_type"]], theirs["timestep_spacing"]
    if learn_variance != (variance == "LearnedRange"):
        raise UserError(
            f"variance_type={theirs['variance_type']} does not go with the network, which "
            f"{'learns' if learn_variance else 'does not learn'} a variance (its out_channels): only learned_range does"
        )
    schedule = "linear" if theirs["beta_schedule"] in LISTED else BETAS[theirs["beta_schedule"]]
    ends = [] if schedule == "cosine" else [f"schedule.betas.{key}={theirs[key]}" for key in ("beta_start", "beta_end")]
    return [
        f"schedule={schedule}",
        f"schedule.betas.T={theirs['num_train_timesteps']}",
        *ends,
        f"schedule.zero_terminal_snr={theirs['rescale_betas_zero_snr']}",
        *([] if theirs["num_train_timesteps"] == T or stretch_time else ["+schedule.stretch_time=false"]),
        f"prediction={PREDICTIONS[theirs['prediction_type']]}",
        "sampler=ancestral",
        f"sampler.variance._target_=inkwash.process.variances.{variance}",
        f"sampler.clip={_clip(theirs)}",
        f"spacing={spacing}",
    ]


def listed_betas(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a node for betas that are listed one by one, None if they are not."""
    theirs = DEFAULTS | {key: value for key, value in config.items() if value is not None}
    values = theirs["trained_betas"]
    if values is None and (make := LISTED.get(theirs["beta_schedule"])):
        values = make(*(theirs[key] for key in ("num_train_timesteps", "beta_start", "beta_end"))).tolist()
    return None if values is None else {"_target_": "inkwash.process.betas.listed", "values": list(values)}


def _linspace(start: float, end: float, steps: int) -> Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float64)


def _laplace(u: Tensor) -> Tensor:
    """Return alpha_bar(u) of their "laplace", u in [0, 1]."""
    half_log_snr = torch.where(u <= 0.5, -0.5, 0.5) * torch.log(1 - 2 * (0.5 - u).abs() + 1e-6)
    return torch.sigmoid(half_log_snr).sqrt()


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with their defaults. Raises UserError for a field or value without a counterpart here."""
    if unknown := [
        key for key in config.keys() - DEFAULTS.keys() if not key.startswith("_") and config[key] is not None
    ]:
        raise UserError(f"{min(unknown)} is unknown to Inkwash: take it out if the images are the same without")
    theirs = {key: config.get(key, default) for key, default in DEFAULTS.items()}
    if theirs["trained_betas"] is not None:
        theirs["beta_schedule"] = "linear"
        if len(theirs["trained_betas"]) != theirs["num_train_timesteps"]:
            raise UserError(
                f"trained_betas must be num_train_timesteps={theirs['num_train_timesteps']} numbers, not "
                f"{len(theirs['trained_betas'])}"
            )
    words = {"beta_schedule": BETAS | LISTED, "prediction_type": PREDICTIONS, "variance_type": VARIANCES}
    allowed = {key: list(value) for key, value in {**words, "timestep_spacing": SPACINGS}.items()}
    for key, values in {**allowed, "thresholding": [False, True], "steps_offset": [0]}.items():
        if theirs[key] not in values:
            raise UserError(f"{key}={theirs[key]} cannot be represented, only {' or '.join(map(str, values))}")
    if theirs["thresholding"] and not theirs["sample_max_value"] >= UNBOUNDED:
        raise UserError(
            f"thresholding=True with sample_max_value={theirs['sample_max_value']} cannot be represented, only with "
            f"{UNBOUNDED:g} or more, as good as no bound"
        )
    return theirs
