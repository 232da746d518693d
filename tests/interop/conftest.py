"""Runs with random weights, and pipelines that diffusers has saved."""

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory
from inkwash.training.build import build_module
from support.interop import UNET


@pytest.fixture
def untrained(tmp_path, compose_config):
    """untrained(*overrides): a run directory whose checkpoint holds random weights, another set for the average."""

    def make(*overrides: str, name: str = "run"):
        directory = tmp_path / name
        config = {k: v for k, v in compose_config(*overrides).items() if k not in OF_THE_LAUNCH}
        module = build_module(config)
        generator = torch.Generator().manual_seed(0)
        for p in module.parameters():
            p.data = 0.1 * torch.randn(p.shape, generator=generator)
        (directory / "checkpoints").mkdir(parents=True)
        RunDirectory(directory).write_config(config)
        torch.save({"state_dict": module.state_dict(), "global_step": 7}, directory / "checkpoints" / "last.ckpt")
        return directory

    return make


@pytest.fixture
def pipeline(tmp_path):
    """pipeline(scheduler={...}, **unet): a folder written by save_pretrained, and the pipeline."""

    def make(scheduler=(), **unet):
        torch.manual_seed(0)
        pipe = DDPMPipeline(UNet2DModel(**UNET | unet).eval(), DDPMScheduler(**dict(scheduler)))
        pipe.save_pretrained(tmp_path / "theirs")
        return tmp_path / "theirs", pipe

    return make
