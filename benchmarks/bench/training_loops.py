"""Training as others do it: a plain loop, diffusers' unconditional example, denoising-diffusion-pytorch's Trainer."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from bench import networks

Gate = Callable[[], None]


def plain(options: dict[str, Any], gate: Gate) -> None:
    """Train Inkwash's network in ten lines: no average, no clipping, no guard, no log, images in memory."""
    config = options["config"]
    net, x = networks.our_unet(config), images_in_memory(options["images"])
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    while True:
        gate()
        x_0 = x[torch.randint(len(x), (config["data"]["batch_size"],))]
        t, eps = torch.randint(1000, (len(x_0),)), torch.randn_like(x_0)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        F.mse_loss(net(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t.float()), eps).backward()
        optimizer.step()
        optimizer.zero_grad()


def diffusers_example(options: dict[str, Any], gate: Gate, steps: int = 10**9) -> Any:
    """Train as diffusers' examples/unconditional_image_generation/train_unconditional.py, with its default values.

    The network is UNet2DModel with the case's arguments: the example's own has six levels and 114M parameters. Images
    are read by its transforms in this process (dataloader_num_workers=0), or lie in memory (options["in_memory"]).

    Returns:
        The averaged network and the scheduler.
    """
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from torch.utils.data import DataLoader
    from tqdm.auto import tqdm

    config = options["config"]
    model, size = networks.diffusers_unet(config), config["data"]["batch_size"]
    accelerator, scheduler = Accelerator(), DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    average = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    lr = options.get("lr", 1e-4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=min(500, steps // 10), num_training_steps=steps)
    loader = DataLoader(PicturesOfTheExample(options["images"], config["data"]["shape"]), size, shuffle=True)
    model, optimizer, loader, rate = accelerator.prepare(model, optimizer, loader, rate)
    batches = _from_memory(options["images"], size) if options.get("in_memory") else _again_and_again(loader)
    progress = tqdm(total=steps, disable=not accelerator.is_local_main_process)
    for step in range(steps):
        gate()
        x_0 = next(batches)
        eps = torch.randn(x_0.shape, dtype=torch.float32, device=x_0.device)
        t = torch.randint(0, scheduler.config.num_train_timesteps, (len(x_0),), device=x_0.device).long()
        x_t = scheduler.add_noise(x_0, eps, t)
        with accelerator.accumulate(model):
            loss = F.mse_loss(model(x_t, t).sample.float(), eps.float())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        average.step(model.parameters())
        progress.update(1)
        progress.set_postfix(
            loss=loss.detach().item(), lr=rate.get_last_lr()[0], step=step, ema_decay=average.cur_decay_value
        )
    average.copy_to(model.parameters())
    return accelerator.unwrap_model(model).eval(), scheduler


class PicturesOfTheExample(torch.utils.data.Dataset):
    """The images of a folder, through the example's transforms, without its mirror images."""

    def __init__(self, folder: str, shape: list[int]):
        from torchvision import transforms

        self.paths, self.mode = sorted(Path(folder).glob("*.png")), "L" if shape[0] == 1 else "RGB"
        self.augmentations = transforms.Compose([
            transforms.Resize(shape[1], interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(shape[1]), transforms.ToTensor(), transforms.Normalize([0.5], [0.5]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        return self.augmentations(Image.open(self.paths[i]).convert(self.mode))


def lucidrains_trainer(options: dict[str, Any], gate: Gate, steps: int = 10**9) -> Any:
    """Train with denoising-diffusion-pytorch's own Trainer, with its default values but for batch and mirror images.

    Returns:
        Its GaussianDiffusion with averaged weights.
    """
    from denoising_diffusion_pytorch import Trainer

    config = options["config"]
    diffusion = networks.lucidrains_diffusion(config, options.get("same_network", False), **options.get("sampling", {}))
    trainer = Trainer(
        diffusion, options["images"], train_batch_size=config["data"]["batch_size"], augment_horizontal_flip=False,
        train_lr=options.get("lr", 1e-4), train_num_steps=steps, save_and_sample_every=10**9, calculate_fid=False,
        results_folder=tempfile.mkdtemp(),
    )  # fmt: skip
    trainer.dl = _gated(trainer.dl, gate)
    trainer.train()
    return trainer.ema.ema_model.eval()


def _gated(batches: Iterator[Any], gate: Gate) -> Iterator[Any]:
    """Yield batches, each after the gate: the Trainer asks for one at the beginning of its step."""
    while True:
        gate()
        yield next(batches)


def images_in_memory(folder: str) -> torch.Tensor:
    """Return the images of a folder, float32 (N, C, H, W) in [-1, 1]."""
    import numpy as np
    from PIL import Image

    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(Path(folder).glob("*.png"))])
    pixels = torch.from_numpy(pictures).float() / 127.5 - 1
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()


def _from_memory(folder: str, size: int) -> Iterator[torch.Tensor]:
    pixels = images_in_memory(folder)
    while True:
        yield pixels[torch.randint(len(pixels), (size,))]


def _again_and_again(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
