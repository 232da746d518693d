"""The numbers of the section Schedule."""

import math

import pytest
import torch

from inkwash.process.predictions import V
from inkwash.process.times import LogNormal, Uniform
from inkwash.process.weightings import MinSNR
from inkwash.reports.schedule_curves import curves, path_of
from support.runs import composed
from support.schedules import PATHS


@pytest.fixture(scope="module")
def drawn():
    schedule = PATHS["cosine"]
    times = torch.tensor([1000.0, 500.0, 1.0, 0.0])
    return curves("mine", composed(), schedule, V(), Uniform(), MinSNR(5.0), times)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_drawn_from_data_to_noise(name):
    path = path_of(PATHS[name])
    assert path["u"] == sorted(path["u"])
    assert path["log_snr"] == sorted(path["log_snr"], reverse=True)
    for alpha, sigma, log_snr in zip(path["alpha"], path["sigma"], path["log_snr"], strict=True):
        if abs(log_snr) < 19 and alpha > 1e-3:
            assert log_snr == pytest.approx(2 * math.log(alpha / sigma), abs=0.01)


def test_the_others_of_conf_are_beside_it(drawn):
    assert drawn["own"] == "mine"
    assert set(drawn["paths"]) == {
        "mine", "cosine", "cosine_shifted", "edm", "flow", "linear", "quadratic", "sigmoid", "vp",
    }  # fmt: skip


def test_sampling_times_lie_on_the_path(drawn):
    assert len(drawn["sampling"]["u"]) == 3  # without t = 0
    schedule = PATHS["cosine"]
    expected = (2 * schedule.half_log_snr(torch.tensor([500.0]))).item()
    assert drawn["sampling"]["log_snr"][1] == pytest.approx(expected, abs=1e-3)
    assert drawn["sampling"]["u"] == pytest.approx([0.999, 0.499, 0.0], abs=2e-3)


def test_the_weight_of_v_is_min_snr_over_snr_plus_one(drawn):
    for log_snr, weight in zip(drawn["weight"]["log_snr"], drawn["weight"]["y"], strict=True):
        if abs(log_snr) < 19:
            snr = math.exp(log_snr)
            assert weight == pytest.approx(min(snr, 5) / (snr + 1), rel=1e-3)


def test_the_density_is_that_of_the_times():
    schedule = PATHS["edm"]
    found = curves("edm", composed(), schedule, V(), LogNormal(-1.2, 1.2), None, torch.tensor([80.0, 0.0]))
    density, width = found["density"], 0.0
    width = density["log_snr"][1] - density["log_snr"][0]
    assert sum(density["y"]) * width == pytest.approx(1, abs=1e-3)
    mean = sum(x * y for x, y in zip(density["log_snr"], density["y"], strict=True)) * width
    assert mean == pytest.approx(2.4, abs=0.15)  # log SNR = -2 log sigma
    assert found["weight"] is None
