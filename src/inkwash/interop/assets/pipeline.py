# Copyright the authors of Inkwash. SPDX-License-Identifier: Apache-2.0
"""Images of given classes, with classifier-free guidance (Ho & Salimans 2022). diffusers runs this file:

pipe = DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
"""

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class ClassConditionalPipeline(DiffusionPipeline):
    """Pipeline of a UNet2DModel with classes and a DDPMScheduler or FlowMatchEulerDiscreteScheduler.

    Args:
        no_label: whether the network has learnt to do without a label, for which its last class embedding stands.
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet, scheduler, no_label: bool = True):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(no_label=no_label)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int] | torch.Tensor,
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Draw an image of each label.

        Args:
            class_labels: the class of each image, 0, 1, ...
            guidance_scale: 1 for none; None for 1.5 if the network can be guided.
            generator: of the noise; or one for each image.
            output_type: pil, np or pt.
        """
        if guidance_scale is None:
            guidance_scale = 1.5 if self.config.no_label else 1.0
        guided, net, device = guidance_scale != 1, self.unet.config, self._execution_device
        if guided and not self.config.no_label:
            raise ValueError("guidance_scale must be 1: this network was not trained without labels")
        labels = torch.as_tensor(class_labels, device=device)
        if guided:
            labels = torch.cat([labels, torch.full_like(labels, net.num_class_embeds - 1)])
        size = net.sample_size if isinstance(net.sample_size, (list, tuple)) else [net.sample_size] * 2
        shape = (len(class_labels), net.in_channels, *size)
        image = randn_tensor(shape, generator=generator, device=device, dtype=self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.progress_bar(self.scheduler.timesteps):
            output = self.unet(torch.cat([image, image]) if guided else image, t, labels).sample
            if guided:
                output, without = output.chunk(2)
                channels = image.shape[1]  # the others are a learned variance, which is not guided
                output[:, :channels] = torch.lerp(without[:, :channels], output[:, :channels], guidance_scale)
            step = self.scheduler.step(output, t, image, generator=generator)
            image = step.prev_sample
        # DDPMScheduler adds noise in the last step, too, if that begins above t = 0: take what it is added to.
        image = getattr(step, "pred_original_sample", image)
        image = (image / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            image = image.cpu().permute(0, 2, 3, 1).float().numpy()
            image = self.numpy_to_pil(image) if output_type == "pil" else image
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=image) if return_dict else (image,)
