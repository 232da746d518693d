"""What conf/ says of the mathematics instantiates with plain hydra.utils.instantiate, as from a notebook."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from inkwash.config.cli import compose
from inkwash.config.paths import config_dir

CONF = Path(config_dir())
GROUPS = ("schedule", "prediction", "weighting", "times", "loss", "sampler", "spacing", "model", "likelihood", "task")
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
# The command whose configuration has a group; `train` has the others.
COMMAND_OF = {"task": "sample", "guide": "sample", "likelihood": "evaluate"}
SMALL = ("data.shape=[3,16,16]", "data.num_classes=3", "schedule.betas.T=20")


def composed(group, choice, *overrides):
    command = COMMAND_OF.get(group, "train")
    run = () if command == "train" else ("run=x",)
    return compose(f"{group}={choice}", *run, *overrides, config_name=command)


def first_of_each_group():
    """All choices; quick is the first of each group."""
    for i, (group, choice) in enumerate(CHOICES):
        quick = i == 0 or CHOICES[i - 1][0] != group
        yield pytest.param(group, choice, id=f"{group}-{choice}", marks=[] if quick else [pytest.mark.slow])


@pytest.mark.parametrize(("group", "choice"), first_of_each_group())
def test_every_choice_instantiates_without_convert(group, choice):
    shape = ("data.shape=[3,32,32]",) if group in ("model", "schedule") else ()
    config = composed(group, choice, *shape)
    with torch.device("meta" if group == "model" else "cpu"):
        assert instantiate(config[group]) is not None


@pytest.mark.parametrize("overrides", [(), ("model.attention_resolutions=[16]", "model.channel_mult=[1,2,2]")])
def test_network_of_a_composed_configuration_runs(overrides):
    config = composed("model", "unet_small", *SMALL, *overrides)
    x = torch.randn(2, 3, 16, 16)
    assert instantiate(config.model)(x, torch.tensor([1.0, 900.0]), torch.tensor([0, -1])).shape == x.shape


def test_guide_takes_an_interval_of_a_configuration():
    denoiser = nn.Identity()
    denoiser.schedule = instantiate(composed("schedule", "edm").schedule)
    guide = instantiate(composed("guide", "cfg", "guide.interval=[0.2,3]").guide)(denoiser, 2.0)
    assert guide.interval == (0.2, 3)


def test_listed_betas_of_a_configuration_are_a_chain():
    betas = "schedule.betas={_target_: inkwash.process.betas.listed, values: [0.1, 0.5, 0.99]}"
    config = composed("schedule", "linear", "~schedule.betas", f"+{betas}")
    assert instantiate(config.schedule).t_max == 3
