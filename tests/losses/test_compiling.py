"""torch.compile takes an objective, network included, in one piece: fullgraph refuses what would break the graph."""

import pytest
import torch
from omegaconf import OmegaConf

from inkwash import compose
from inkwash.random import Draws, generator
from inkwash.training.build import build_module
from support.networks import EDM2, SONG

SMALL = ("model.channels=8", "model.channel_mult=[1]")
LEARNED = ("model.learn_variance=true",)
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        pytest.param(("prediction=eps", "schedule=linear", "loss=hybrid", *LEARNED), id="hybrid", marks=slow),
        pytest.param(("prediction=edm", "schedule=edm", "weighting=edm", "times=log_normal"), id="edm", marks=slow),
        pytest.param(("prediction=flow", "schedule=flow", "times=logit_normal"), id="flow", marks=slow),
        pytest.param(("schedule=vp", "weighting=min_snr"), id="vp", marks=slow),
        pytest.param(("weighting=uncertainty", "loss=huber"), id="uncertainty", marks=slow),
        pytest.param(("weighting=p2", "loss=pseudo_huber", "model.patch_size=2"), id="patches", marks=slow),
        pytest.param(
            ("loss=vlb", "loss.variance._target_=inkwash.process.variances.LearnedRange", *LEARNED),
            id="vlb",
            marks=slow,
        ),
        pytest.param(SONG, id="song", marks=slow),
        pytest.param((*EDM2, "model.head_dim=4"), id="edm2", marks=slow),
    ],
    ids=lambda overrides: "default" if not overrides else None,
)
def test_no_graph_break(overrides):
    module = build_module(OmegaConf.to_container(compose(*SMALL, *overrides), resolve=True))
    draws = Draws([generator("compiling")])
    x_0, eps, y = draws.uniform(4, 1, 8, 8) * 2 - 1, draws.normal(4, 1, 8, 8), torch.arange(4)
    t = module.loss.times(module.denoiser.schedule, 4, draws)
    torch.compiler.reset()
    compiled = torch.compile(module.loss.objective, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(module.denoiser, x_0, eps, t, y), module.loss.objective(module.denoiser, x_0, eps, t, y)
    )
