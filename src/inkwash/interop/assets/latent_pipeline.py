# Copyright the authors of Inkwash. SPDX-License-Identifier: Apache-2.0
"""Images by latent diffusion (Rombach et al. 2022), of given classes if the network has any. diffusers runs this file:

pipe = DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
"""

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class LatentPipeline(DiffusionPipeline):
    """Pipeline of a UNet2DModel or DiTTransformer2DModel that draws latents z; the vae decodes z * std + mean.

    Args:
        vae: AutoencoderKL or AutoencoderTiny. Its scaling_factor is not used: mean and std stand for it.
        unet, transformer: one of them.
        latents_mean, latents_std: of each channel.
        num_classes: None for a network without classes.
        no_label: whether the network has learnt to do without a label, for which its last class embedding stands.
        freq_shift: of the transformer's time embedding, which its own file cannot say.
    """

    model_cpu_offload_seq = "unet->transformer->vae"
    _optional_components = ["unet", "transformer"]  # noqa: RUF012

    def __init__(
        self, vae, scheduler, unet=None, transformer=None, latents_mean=(0.0,), latents_std=(1.0,), num_classes=None,
        no_label=True, freq_shift=0,
    ):  # fmt: skip
        super().__init__()
        self.register_modules(vae=vae, scheduler=scheduler, unet=unet, transformer=transformer)
        self.register_to_config(
            latents_mean=list(latents_mean), latents_std=list(latents_std), num_classes=num_classes, no_label=no_label,
            freq_shift=freq_shift,
        )  # fmt: skip
        for block in [] if transformer is None else transformer.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = freq_shift

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int] | torch.Tensor | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        batch_size: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Draw an image of each label, or `batch_size` images without classes.

        Args:
            class_labels: the class of each image, 0, 1, ...
            guidance_scale: 1 for none; None for 1.5 if the network can be guided.
            generator: of the noise; or one for each image.
            output_type: pil, np, pt or latent, which is what the vae decodes.
        """
        classes, device = self.config.num_classes, self._execution_device
        if (class_labels is None) != (classes is None):
            raise ValueError("class_labels are needed" if classes else "class_labels must be left out: it has none")
        if guidance_scale is None:
            guidance_scale = 1.5 if self.config.no_label else 1.0
        guided = guidance_scale != 1
        if guided and not self.config.no_label:
            reason = "the network has no classes" if classes is None else "it was not trained without labels, too"
            raise ValueError(f"guidance_scale must be 1: {reason}")
        labels = None if classes is None else torch.as_tensor(class_labels, device=device)
        count = batch_size if labels is None else len(labels)
        if guided:
            labels = torch.cat([labels, torch.full_like(labels, classes)])
        net = self.unet if self.transformer is None else self.transformer
        size = net.config.sample_size
        size = size if isinstance(size, (list, tuple)) else [size] * 2
        shape = (count, net.config.in_channels, *size)
        z = randn_tensor(shape, generator=generator, device=device, dtype=net.dtype)
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.progress_bar(self.scheduler.timesteps):
            x = torch.cat([z, z]) if guided else z
            output = net(x, timestep=t.to(device).expand(len(x)), class_labels=labels).sample
            if guided:
                output, without = output.chunk(2)
                channels = z.shape[1]  # the others are a learned variance, which is not guided
                output[:, :channels] = torch.lerp(without[:, :channels], output[:, :channels], guidance_scale)
            step = self.scheduler.step(output, t, z, generator=generator)
            z = step.prev_sample
        # DDPMScheduler adds noise in the last step, too, if that begins above t = 0: take what it is added to.
        z = getattr(step, "pred_original_sample", z)
        mean, std = (
            z.new_tensor(values).view(-1, 1, 1) for values in (self.config.latents_mean, self.config.latents_std)
        )
        image = (z * std + mean).to(self.vae.dtype)
        if output_type != "latent":
            image = (self.vae.decode(image).sample / 2 + 0.5).clamp(0, 1)
        if output_type in ("pil", "np"):
            image = image.cpu().permute(0, 2, 3, 1).float().numpy()
            image = self.numpy_to_pil(image) if output_type == "pil" else image
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=image) if return_dict else (image,)
