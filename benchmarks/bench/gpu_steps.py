"""Training steps of the 35.7M network on one device, as functions of a batch: ours and the peers', in several forms.

Each maker returns a function that takes one whole step: noise, loss, gradient, clipping, optimizer, average. Images lie
on the device. They are plain torch, so that they run where neither Hydra nor Lightning is installed.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[], None]
# Ho et al.'s network for CIFAR-10 without dropout; and a tiny one, to try the program.
LARGE = {"shape": [3, 32, 32], "channels": 128, "channel_mult": [1, 2, 2, 2], "attention_resolutions": [16]}
TINY = {"shape": [3, 8, 8], "channels": 8, "channel_mult": [1, 2], "attention_resolutions": []}
# How a network is run: as it is, compiled, compiled with its kernels launched by CUDA graphs.
FORMS: dict[str, dict[str, Any] | None] = {
    "eager": None,
    "compiled": {"dynamic": False},
    "CUDA graphs": {"dynamic": False, "mode": "reduce-overhead"},
}


def formed(net: nn.Module, form: str) -> nn.Module:
    """Put a network into a form, in place; on a CPU without the compiler's backend."""
    how = FORMS[form]
    if how is not None:
        on_gpu = next(net.parameters()).device.type == "cuda"
        net.forward = torch.compile(net.forward, **(how if on_gpu else {"dynamic": False, "backend": "eager"}))
    return net


def images(size: int, shape: list[int], device: torch.device) -> Tensor:
    """Return images of noise, float32 (n, C, H, W) in [-1, 1]."""
    return 2 * torch.rand(size, *shape, device=device) - 1


def autocast(device: torch.device, half: bool) -> torch.autocast:
    """Return the context of bfloat16, or of float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def our_denoiser(model: dict[str, Any], device: torch.device) -> Any:
    """Return Inkwash's denoiser of `experiment=cifar10`, in channels_last."""
    from inkwash.denoiser import Denoiser
    from inkwash.process.betas import linear
    from inkwash.process.predictions import Eps
    from inkwash.process.schedules import BetaSchedule

    denoiser = Denoiser(our_net(model), BetaSchedule(linear(1000)), Eps())
    return denoiser.to(device, memory_format=torch.channels_last)


def our_net(model: dict[str, Any]) -> nn.Module:
    """Return Inkwash's network."""
    from inkwash.nets.unet import UNet

    return UNet(**model, num_res_blocks=2, pad_all_sides=False)


def our_loss() -> Any:
    """Return the loss of `experiment=cifar10`."""
    from inkwash.losses.distances import L2
    from inkwash.losses.simple import DiffusionLoss
    from inkwash.process.times import Uniform
    from inkwash.process.weightings import Uniform as Even

    return DiffusionLoss(L2(), Even(), Uniform())


def ours(model: dict[str, Any], size: int, device: torch.device, form: str = "eager", half: bool = True) -> Step:
    """Return the step that a training of Inkwash takes, in a bare loop: its loss, draws, clipping and average."""
    from inkwash.random import Draws, generator
    from inkwash.training import ema
    from inkwash.training.clipping import clip_norm

    denoiser, loss, x = our_denoiser(model, device), our_loss(), images(size, model["shape"], device)
    average = ema.AverageDenoiser.of(denoiser)
    formed(denoiser.net, form)
    weights, averaged = [*denoiser.parameters()], [*average.parameters()]
    optimizer = torch.optim.Adam(weights, lr=2e-4, fused=True)
    on = device if device.type == "cuda" else "cpu"
    shards, count = next(n for n in (8, 4, 2, 1) if size % n == 0), iter(range(10**9))

    def step() -> None:
        n = next(count)
        draws = Draws([generator(0, "train", n, shard, device=on) for shard in range(shards)], device)
        with autocast(device, half):
            value = loss(denoiser, x, None, draws).loss.mean()
        value.backward()
        clip_norm(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(averaged, weights, 0.9999)

    return step


def diffusers(model: dict[str, Any], size: int, device: torch.device, form: str = "eager", half: bool = True) -> Step:
    """Return the step of diffusers' unconditional example on a UNet2DModel of the same function."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    net, x = diffusers_net(model, device), images(size, model["shape"], device)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    average.to(device)
    formed(net, form)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)

    def step() -> None:
        eps = torch.randn(x.shape, device=device)
        t = torch.randint(0, 1000, (size,), device=device)
        with autocast(device, half):
            loss = F.mse_loss(net(scheduler.add_noise(x, eps, t), t).sample.float(), eps)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(net.parameters())
        loss.detach().item()  # its progress bar shows it at each step

    return step


def diffusers_net(model: dict[str, Any], device: torch.device) -> Any:
    """Return the UNet2DModel that computes the same function."""
    from diffusers import UNet2DModel

    from inkwash.interop.unet_config import unet2d_config

    return UNet2DModel(**unet2d_config(**model, num_res_blocks=2, pad_all_sides=False)).to(device)


def lucidrains(model: dict[str, Any], size: int, device: torch.device, form: str = "eager", half: bool = True) -> Step:
    """Return the step of denoising-diffusion-pytorch's Trainer on its own network, whose default has 35.7M weights."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    large = model["channels"] == LARGE["channels"]
    net = Unet(dim=64, dim_mults=(1, 2, 4, 8)) if large else Unet(dim=8, dim_mults=(1, 2))
    diffusion = GaussianDiffusion(net, image_size=model["shape"][1]).to(device)
    x = images(size, model["shape"], device) / 2 + 0.5
    average = EMA(diffusion, beta=0.995, update_every=10).to(device)
    formed(net, form)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def step() -> None:
        with autocast(device, half):
            loss = diffusion(x)
        loss.item()  # as the Trainer does
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return step


def flops_of_an_image(model: dict[str, Any], device: torch.device) -> float:
    """Return the floating-point operations of a training image: convolutions and matrix products, both ways."""
    from torch.utils.flop_counter import FlopCounterMode

    from inkwash.random import Draws, generator

    denoiser, x = our_denoiser(model, device), images(1, model["shape"], device)
    with FlopCounterMode(display=False) as counter:
        our_loss()(denoiser, x, None, Draws([generator("flops")], device)).loss.mean().backward()
    return float(counter.get_total_flops())


def matrix_peak(device: torch.device, side: int, repeat: int = 20) -> float:
    """Return the operations per second of the fastest bfloat16 product of random matrices, measured."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = [timed(functools.partial(torch.mm, a, b), device, repeat) for _ in range(3)]
    return 2 * side**3 / min(seconds)


def timed(step: Callable[[], Any], device: torch.device, steps: int) -> float:
    """Return the seconds of a step, the mean of some in a row."""
    import time

    synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return (time.perf_counter() - start) / steps


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
