"""Compute a run's path, weighting and times beside the paths of conf/schedule, as numbers for its page."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from inkwash.config import shapes
from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.process.predictions import Prediction
from inkwash.process.schedules import Schedule
from inkwash.process.times import Times
from inkwash.process.weightings import Weighting
from inkwash.random import Draws, generator

POINTS = 65
DRAWN, BINS = 8192, 40  # times drawn for the density
WIDEST = 20.0  # log SNR beyond which nothing is shown


def curves(
    name: str,
    config: dict[str, Any],
    schedule: Schedule,
    prediction: Prediction,
    times: Times,
    weighting: Weighting | None,
    sampling: Tensor,
) -> dict[str, Any]:
    """Return the numbers of the section `Schedule`.

    Args:
        name: of the run's own schedule.
        config: of the run; the other schedules may refer to it.
        sampling: the times that the sampler visits, (steps + 1,), noisiest first.
    """
    return {
        "own": name,
        "paths": {**others(name, config), name: path_of(schedule)},
        "sampling": _sampling(schedule, sampling),
        "density": _density(schedule, times),
        "weight": _weight(schedule, prediction, weighting),
    }


def others(own: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the path of each schedule of conf/schedule but the run's own; one that cannot be made here is left out."""
    shapes.register()  # in a rank Hydra has not
    found = {}
    for file in sorted(Path(config_dir(), "schedule").glob("*.yaml")):
        if file.stem != own:
            with contextlib.suppress(UserError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                whole = {key: config.get(key) for key in ("data", "autoencoder")}
                node = OmegaConf.create({**whole, "schedule": OmegaConf.load(file)}).schedule
                found[file.stem] = path_of(build(OmegaConf.to_container(node, resolve=True)))
    return found


def path_of(schedule: Schedule) -> dict[str, list[float]]:
    """Return alpha, sigma and log SNR at POINTS fractions u of the range of times."""
    u = torch.linspace(0, 1 - 1e-9, POINTS, dtype=torch.float64)
    t = schedule.time_at(u)
    alpha, sigma = (factor.flatten() for factor in schedule(t))
    return {
        name: _plain(x)
        for name, x in (("u", u), ("alpha", alpha), ("sigma", sigma), ("log_snr", _log_snr(schedule, t)))
    }


def _log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    return (2 * schedule.half_log_snr(t)).clamp(-WIDEST, WIDEST)


def _sampling(schedule: Schedule, t: Tensor) -> dict[str, list[float]]:
    """Return u and log SNR of the sampling times above 0."""
    t = t[t > 0].double()
    u = torch.linspace(0, 1 - 1e-9, 4097, dtype=torch.float64)
    index = torch.searchsorted(schedule.time_at(u), t).clamp(max=len(u) - 1)
    return {"u": _plain(u[index]), "log_snr": _plain(_log_snr(schedule, t))}


def _density(schedule: Schedule, times: Times) -> dict[str, list[float]]:
    """Return the density of training times over log SNR, from DRAWN of them."""
    drawn = _log_snr(schedule, times(schedule, DRAWN, Draws([generator("report", "times")])))
    low, high = float(drawn.min()), float(drawn.max()) + 1e-9
    counts = torch.histc(drawn, BINS, low, high)
    middles = low + (torch.arange(BINS) + 0.5) * (high - low) / BINS
    return {"log_snr": _plain(middles), "y": _plain(counts / DRAWN * BINS / (high - low))}


def _weight(schedule: Schedule, prediction: Prediction, weighting: Weighting | None) -> dict[str, list[float]] | None:
    """Return the weight of the squared error in target space over log SNR; None if the loss has no weighting."""
    if weighting is None:
        return None
    t = schedule.time_at(torch.linspace(0, 1 - 1e-9, POINTS, dtype=torch.float64))
    alpha, sigma = schedule(t)
    weight = weighting(alpha, sigma, prediction.det(alpha, sigma)).flatten()
    order = _log_snr(schedule, t).argsort()
    return {"log_snr": _plain(_log_snr(schedule, t)[order]), "y": _plain(weight[order])}


def _plain(x: Tensor) -> list[float]:
    """Return five digits of finite numbers."""
    return [float(f"{value:.5g}") for value in x.double().nan_to_num(0.0, 1e9, -1e9).tolist()]
