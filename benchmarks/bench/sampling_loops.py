"""Sampling: from noise to a batch of uint8 images, by Inkwash, diffusers' pipelines, denoising-diffusion-pytorch."""

from collections.abc import Callable
from typing import Any

import torch

from bench import networks

Gate = Callable[[], None]


def ours(options: dict[str, Any], gate: Gate) -> None:
    """Draw as `inkwash sample` does, in the mode that a training here would choose or the one that is given."""
    from inkwash.samplers.generate import generate
    from inkwash.training.precision import autocast

    config, batch = options["config"], options["batch"]
    device = torch.device("cpu")
    denoiser, precision = _denoiser(config, device, options["mode"])
    sampler = our_sampler(options["sampler"], options["steps"])
    while True:
        gate()
        with autocast(precision, device):
            list(generate(denoiser, sampler, config["data"]["shape"], range(batch), batch_size=batch, device=device))


def _denoiser(config: dict[str, Any], device: torch.device, mode: str) -> tuple[Any, str]:
    """Return a denoiser, its weights in the mode's memory format, and the mode's precision."""
    from inkwash.training.build import build_module
    from inkwash.training.compute_mode import simplest
    from inkwash.training.mode_choice import choose

    config["trainer"] |= {"threads": torch.get_num_threads()}
    if mode == "contiguous":
        config["trainer"] |= {"precision": "32-true", "memory_format": "contiguous"}
    module = build_module(config)
    chosen = choose(config, module, device, 1).mode if mode == "chosen" else simplest(config["trainer"], device, 1)
    torch.set_num_threads(chosen.threads)
    chosen.arrange(module.denoiser)
    return module.denoiser.eval().requires_grad_(False), chosen.precision


def our_sampler(name: str, steps: int) -> Any:
    """Return Inkwash's sampler `ddim` or `ddpm`."""
    from inkwash.process.spacing import Trailing
    from inkwash.process.variances import FixedSmall
    from inkwash.samplers.ancestral import Ancestral
    from inkwash.samplers.ddim import DDIM

    return DDIM(Trailing(steps)) if name == "ddim" else Ancestral(Trailing(steps), FixedSmall())


def diffusers_pipeline(options: dict[str, Any], gate: Gate) -> None:
    """Draw with diffusers' DDIMPipeline or DDPMPipeline, without its progress bar."""
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    net = networks.diffusers_unet(options["config"]).eval()
    if options["sampler"] == "ddim":
        pipeline: Any = DDIMPipeline(net, DDIMScheduler(timestep_spacing="trailing"))
    else:
        pipeline = DDPMPipeline(net, DDPMScheduler(timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)
    while True:
        gate()
        images = pipeline(batch_size=options["batch"], num_inference_steps=options["steps"], output_type="np").images
        (255 * images).round().astype("uint8")


def lucidrains_sample(options: dict[str, Any], gate: Gate) -> None:
    """Draw with GaussianDiffusion.sample in DDIM's steps, with its own network or ours."""
    config = options["config"]
    diffusion = networks.lucidrains_diffusion(config, options["same_network"], sampling_timesteps=options["steps"])
    diffusion.eval()
    while True:
        gate()
        (255 * diffusion.sample(batch_size=options["batch"])).round().to(torch.uint8)
