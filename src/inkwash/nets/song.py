"""DDPM++ and NCSN++, the U-Nets of Song et al. 2021 as Karras et al. 2022 (EDM) train them.

Both are the U-Net of Ho et al. 2020 with residual blocks that resample, sums divided by sqrt(2) and more blocks. They
differ in three things:

| | DDPM++ | NCSN++ |
|---|---|---|
| noise level | sinusoids | random Fourier features, twice as many |
| filter that resamples | 2 x 2 mean | [1, 3, 3, 1] |
| input image | read once | read again at every level, reduced |

Source: Song et al. 2021 (score-based SDEs), appendix H; Karras et al. 2022, table 7 and appendix F.2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.nets.blocks import conv, group_norm, linear, norm_groups, sinusoidal_embedding, zeroed
from inkwash.nets.layout import (
    call,
    check_attention,
    check_counts,
    check_divides,
    map_heights,
    way_down,
    way_up,
)
from inkwash.nets.song_blocks import BOX, LAST, FourierFeatures, ImageHalved, SongBlock


class SongUNet(nn.Module):
    """DDPM++ or NCSN++: maps a noisy image, its time and perhaps its class to an output of the image's shape.

    The embedding of an image is MLP(waves(time) + sqrt(K) W onehot(y) + b + A augment), of which the last term belongs
    to an augmentation whose numbers the network is told (data/augment.py), so that it can do without them later.

    Args:
        shape: (C, H, W) of the images.
        channels: feature channels of the first level.
        channel_mult: channels of each level as multiples; every further level halves H and W.
        num_res_blocks: residual blocks of a level on the way down (one more on the way up).
        attention_resolutions: heights of the maps with self-attention: after all blocks on the way down, after the last
            one of the level on the way up. The innermost always have it.
        num_heads: attention heads.
        dropout: dropout inside residual blocks.
        num_classes: number of classes K, None for an unconditional network.
        augment_dim: numbers that an augmentation tells of each image; 0 for none.
        fourier: see the table above; with it the MLP reads twice as many waves.
        resample_filter: taps of the filter that halves and doubles maps.
        residual_input: read the image at every level.
        time_scale: factor of the time before its waves: 0.001 gives EDM's c_noise = ln(sigma) / 4 on schedule=edm.
        checkpointing: keep only what goes from block to block for the backward pass and compute the rest again, for
            less memory and about a third more time; gradients are the same (Chen et al. 2016).
        two_times: take the time at which a step ends, too (network.py): a layer of its distance joins the waves.

    Raises:
        UserError: H or W cannot be halved often enough, a resolution of the list does not occur, the heads do not
            divide the channels, or the filter has an odd number of taps.
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
        augment_dim: int = 0,
        fourier: bool = False,
        resample_filter: Sequence[int] = BOX,
        residual_input: bool = False,
        time_scale: float = 0.001,
        checkpointing: bool = False,
        two_times: bool = False,
    ):
        super().__init__()
        (image_channels, height, image_width), channel_mult = shape, list(channel_mult)
        check_counts({"channels": channels, "channel_mult": channel_mult, "num_res_blocks": num_res_blocks})
        if augment_dim < 0:
            raise UserError(f"model.augment_dim={augment_dim} must not be negative")
        if len(taps := list(resample_filter)) % 2 or not sum(taps) > 0:
            raise UserError(f"model.resample_filter={taps} must have an even number of taps and a sum above 0")
        heights = map_heights(height, image_width, len(channel_mult))
        check_attention(attention_resolutions, heights, shape)
        widths = [round(channels * mult) for mult in channel_mult]
        layout = (channels, widths, heights, num_res_blocks)
        down, up = way_down(*layout), way_up(*layout)
        self.halves, self.joins = [bool(place.resample) for place in down], [place.skip for place in up]
        attended = [w for w, h in zip(widths, heights, strict=True) if h in attention_resolutions]
        check_divides("num_heads", num_heads, [*attended, widths[-1]])
        self.num_classes, self.augment_dim, self.channels = num_classes, augment_dim, channels
        self.time_scale, self.checkpointing, self.two_times = time_scale, checkpointing, two_times

        noise, embedding = channels * (1 + fourier), 4 * channels
        self.input = conv(image_channels, channels)
        self.waves = FourierFeatures(noise) if fourier else None
        self.label = None if num_classes is None else _labels(num_classes, noise)
        self.label_bias = None if num_classes is None else nn.Parameter(torch.zeros(noise))
        self.augment = _without_bias(augment_dim, noise) if augment_dim else None
        self.embed = nn.Sequential(linear(noise, embedding), nn.SiLU(), linear(embedding, embedding), nn.SiLU())

        def heads(here: bool) -> int:
            return num_heads if here else 0

        self.down = nn.ModuleList(
            SongBlock(p, embedding, dropout, heads(p.height in attention_resolutions and not p.resample), taps)
            for p in down
        )
        self.up = nn.ModuleList(
            SongBlock(p, embedding, dropout, heads(i == 0 or (p.height in attention_resolutions and p.last)), taps)
            for i, p in enumerate(up)
        )
        halved = [p.width for p in down if p.resample] if residual_input else []
        self.images = nn.ModuleList(
            ImageHalved(*pair, taps) for pair in zip([image_channels, *halved], halved, strict=False)
        )
        last = conv(widths[0], image_channels)
        nn.init.xavier_uniform_(last.weight, gain=LAST)
        self.output = nn.Sequential(group_norm(widths[0], norm_groups(widths[0])), nn.SiLU(), last)
        self.distance = zeroed(linear(noise, noise)) if two_times else None

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        y: Tensor | None = None,
        augment: Tensor | None = None,
        until: Tensor | None = None,
    ) -> Tensor:
        """Return the output at x (n, C, H, W), time (n,), labels y (n,) int64, -1 or None for no label.

        Args:
            augment: (n, augment_dim), what was done to each image before it was noised; None for nothing, as zeros.
            until: the time at which a step ends, (n,), with two_times; None for `time`.
        """
        embedding = self._embedding(time, y, augment, until)
        image = x.to(embedding.dtype)
        h = self.input(image)
        skips, images = [h], iter(self.images)
        for block, halves in zip(self.down, self.halves, strict=True):
            h = call(block, self.checkpointing, h, embedding)
            if halves and self.images:
                image = h = (h + next(images)(image)) * math.sqrt(0.5)
            skips.append(h)
        for block, joins in zip(self.up, self.joins, strict=True):
            h = torch.cat([h, skips.pop()], dim=1) if joins else h
            h = call(block, self.checkpointing, h, embedding)
        return self.output(h)

    def _waves(self, time: Tensor) -> Tensor:
        time = self.time_scale * time
        waves = sinusoidal_embedding(time, self.channels) if self.waves is None else self.waves(time)
        return waves.to(self.input.weight.dtype)  # of a network cast to half

    def _embedding(self, time: Tensor, y: Tensor | None, augment: Tensor | None, until: Tensor | None = None) -> Tensor:
        """Return what all blocks are told, (n, 4 channels), of the weights' dtype, activated."""
        waves = self._waves(time)
        if self.distance is not None:
            waves = waves + self.distance(self._waves(torch.zeros_like(time) if until is None else time - until))
        if self.label is not None:
            y = torch.full_like(time, -1, dtype=torch.long) if y is None else y
            label = math.sqrt(self.label.num_embeddings) * self.label(y.clamp(min=0))
            waves = waves + label * (y >= 0)[:, None] + self.label_bias
        if self.augment is not None:
            # Zeros, too, pass through the layer: without a gradient DDP would wait for one.
            augment = waves.new_zeros(len(waves), self.augment_dim) if augment is None else augment.to(waves.dtype)
            waves = waves + self.augment(augment)
        return self.embed(waves)


def _labels(num_classes: int, width: int) -> nn.Embedding:
    table = nn.Embedding(num_classes, width)
    nn.init.xavier_uniform_(table.weight)
    return table


def _without_bias(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer
