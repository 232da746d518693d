"""U-Net of Ho et al. 2020 (a PixelCNN++ backbone with time embedding and self-attention)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.nets.blocks import (
    Attention,
    Downsample,
    ResBlock,
    Stage,
    Upsample,
    conv,
    group_norm,
    linear,
    norm_groups,
    sinusoidal_embedding,
    until_zero,
    zeroed,
)
from inkwash.nets.layout import call, check_attention, check_counts, map_heights

NO_LABEL = (
    "this network has no embedding for images without a label (model.no_label=false): give every image one, with "
    "loss.label_dropout=0 and guidance=1"
)


class UNet(nn.Module):
    """U-Net that maps a noisy image, its time and perhaps its class to an output of the image's shape.

    Args:
        shape: (C, H, W) of the images.
        channels: feature channels of the first level.
        channel_mult: channels of each level as multiples, 1.5 for one; every further level halves H and W.
        num_res_blocks: residual blocks of a level on the way down (one more on the way up).
        attention_resolutions: heights of the feature maps that get self-attention, besides the innermost.
        num_heads: attention heads.
        dropout: dropout inside residual blocks.
        num_classes: number of classes, None for an unconditional network.
        learn_variance: give as many output channels again, for v of a learned variance (process/variances.py).
        patch_size: fold patch_size x patch_size pixels into channels first and unfold them last: the network then
            works at 1 / patch_size of the resolution, which is what a CPU can afford at 28 x 28.
        pad_all_sides: how maps are padded before they are halved (see blocks.Downsample).
        checkpointing: keep only what goes from stage to stage for the backward pass and compute the rest again, for
            less memory and about a third more time; gradients are the same (Chen et al. 2016).
        freq_shift, cos_first: of the time embedding (see blocks.sinusoidal_embedding).
        norm_eps: added to the variance in group norms.
        groups: groups of the group norms; None for blocks.norm_groups(channels).
        head_dim: channels of an attention head, in place of num_heads; wider maps have more heads.
        scale_shift: how residual blocks take the embedding (see blocks.ResBlock).
        middle_attention: whether the innermost maps have attention.
        middle_groups: groups of the norm before that; None for as everywhere, 0 for no norm.
        no_label: keep an embedding for images without a label; False if all have one.
        time_scale: factor of the time before its sinusoids: 1 for times of 0 to 1000, 0.001 for the same as 0 to 1.
        two_times: take the time at which a step ends, too (network.py): an MLP of its distance joins the embedding,
            from 0.

    Those from `freq_shift` to `no_label` are for networks from elsewhere, diffusers' for example.

    Raises:
        UserError: H or W cannot be halved often enough, or a resolution of the list does not occur.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int,
        channel_mult: Sequence[float],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        num_heads: int = 1,
        dropout: float = 0.0,
        num_classes: int | None = None,
        patch_size: int = 1,
        learn_variance: bool = False,
        pad_all_sides: bool = True,
        checkpointing: bool = False,
        freq_shift: int = 1,
        cos_first: bool = False,
        norm_eps: float = 1e-6,
        groups: int | None = None,
        head_dim: int | None = None,
        scale_shift: bool = False,
        middle_attention: bool = True,
        middle_groups: int | None = None,
        no_label: bool = True,
        time_scale: float = 1.0,
        two_times: bool = False,
    ):
        super().__init__()
        # Lists of OmegaConf, too, where Hydra instantiates without _convert_.
        (image_channels, height, width), channel_mult = shape, list(channel_mult)
        counts = {"channels": channels, "num_heads": num_heads, "patch_size": patch_size, "channel_mult": channel_mult}
        check_counts(counts)
        self.num_classes, self.patch_size, self.channels = num_classes, patch_size, channels
        self.checkpointing, self.no_label = checkpointing, no_label
        self.freq_shift, self.cos_first = freq_shift, cos_first
        self.time_scale, self.two_times = time_scale, two_times
        heights = map_heights(height, width, len(channel_mult), patch_size)
        check_attention(attention_resolutions, heights, shape)
        widths = [round(channels * mult) for mult in channel_mult]
        levels = [(width, h in attention_resolutions) for width, h in zip(widths, heights, strict=True)]
        pixels = image_channels * patch_size**2
        embedding, groups = 4 * channels, norm_groups(channels) if groups is None else groups
        if not time_scale > 0:
            raise UserError(f"model.time_scale={time_scale} must be above 0")
        for name, divisor in {"num_heads": num_heads, "head_dim": head_dim, "groups": groups}.items():
            divided = [channels, *widths] if name == "groups" else widths
            if divisor is not None and (divisor < 1 or any(width % divisor for width in divided)):
                raise UserError(f"model.{name}={divisor} must divide the channels {divided}")

        self.time = nn.Sequential(linear(channels, embedding), nn.SiLU(), linear(embedding, embedding))
        # The last row stands for "no label".
        self.label = None if num_classes is None else nn.Embedding(num_classes + no_label, embedding)
        self.input = conv(pixels, channels)

        def stage(in_channels: int, out_channels: int, attention: bool, groups_there: int = groups) -> Stage:
            block = ResBlock(in_channels, out_channels, embedding, dropout, groups, norm_eps, scale_shift)
            heads = num_heads if head_dim is None else out_channels // head_dim
            return Stage([block, Attention(out_channels, heads, groups_there, norm_eps)] if attention else [block])

        down: list[Stage] = []
        up: list[Stage] = []
        width_now, skips = channels, [channels]
        for i, (out, attention) in enumerate(levels):
            for _ in range(num_res_blocks):
                down.append(stage(width_now, out, attention))
                width_now = out
                skips.append(out)
            if i < len(levels) - 1:
                down.append(Stage([Downsample(out, pad_all_sides)]))
                skips.append(out)

        before = stage(width_now, width_now, middle_attention, groups if middle_groups is None else middle_groups)
        self.middle = Stage([*before, *stage(width_now, width_now, False)])

        for i, (out, attention) in reversed(list(enumerate(levels))):
            for _ in range(num_res_blocks + 1):
                up.append(stage(width_now + skips.pop(), out, attention))
                width_now = out
            if i > 0:
                up[-1].append(Upsample(out))

        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        heads = zeroed(conv(width_now, pixels * (1 + learn_variance)))
        self.output = nn.Sequential(group_norm(width_now, groups, norm_eps), nn.SiLU(), heads)
        self.distance = until_zero(linear(channels, embedding), linear(embedding, embedding)) if two_times else None

    def forward(self, x: Tensor, time: Tensor, y: Tensor | None = None, until: Tensor | None = None) -> Tensor:
        """Return the output at x (n, C, H, W), time (n,), labels y (n,) int64, -1 or None for no label.

        Args:
            until: the time at which a step ends, (n,), with two_times; None for `time`.
        """
        dtype = self.input.weight.dtype  # of the weights: a network cast to half takes float32 images all the same
        embedding = self.time(self._waves(time).to(dtype))
        if self.distance is not None:
            # A distance of 0, too, passes through the layers: without a gradient DDP would wait for one.
            distance = torch.zeros_like(time) if until is None else time - until
            embedding = embedding + self.distance(self._waves(distance).to(dtype))
        if self.label is not None:
            y = torch.full_like(time, -1, dtype=torch.long) if y is None else y
            if not self.no_label and not torch.compiler.is_exporting():
                refuse_no_label(y)
            embedding = embedding + self.label(torch.where(y < 0, self.label.num_embeddings - 1, y))
        h = self.input(F.pixel_unshuffle(x.to(dtype), self.patch_size))
        skips = [h]
        for stage in self.down:
            h = call(stage, self.checkpointing, h, embedding)
            skips.append(h)
        h = call(self.middle, self.checkpointing, h, embedding)
        for stage in self.up:
            h = call(stage, self.checkpointing, torch.cat([h, skips.pop()], dim=1), embedding)
        return F.pixel_shuffle(self.output(h), self.patch_size)

    def _waves(self, time: Tensor) -> Tensor:
        time = time if self.time_scale == 1 else self.time_scale * time
        return sinusoidal_embedding(time, self.channels, freq_shift=self.freq_shift, cos_first=self.cos_first)


def refuse_no_label(y: Tensor) -> None:
    """Raise UserError unless all labels are there; on a GPU without waiting for it, so that it is a later error."""
    if y.device.type == "cpu":
        if bool((y < 0).any()):
            raise UserError(NO_LABEL)
    else:
        torch._assert_async((y >= 0).all(), NO_LABEL)
