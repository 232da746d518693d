"""EDM2, the magnitude-preserving U-Net of Karras et al. 2024 ("Analyzing and improving the training dynamics of
diffusion models", configuration G).

Every layer keeps activations at magnitude 1 (magnitude.py), so there are no group norms and no biases; the constant
that biases would give comes in as one more channel of ones.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkwash.nets.layout import (
    Place,
    call,
    check_attention,
    check_counts,
    check_divides,
    map_heights,
    way_down,
    way_up,
)
from inkwash.nets.magnitude import (
    MPConv,
    MPFourier,
    MPLabel,
    MPLinear,
    mp_cat,
    mp_silu,
    mp_sum,
    normalize,
    renormalize,
)

RESIDUAL, ATTENTION = 0.3, 0.3  # share of the branch in the sums
LABEL = SKIP = 0.5  # share of the class in the embedding, of the skip connection in what is joined
LARGEST = 256.0  # activation, for float16


class EDM2UNet(nn.Module):
    """EDM2's network: maps a noisy image, its time and perhaps its class to an output of the image's shape.

    The embedding is mp_silu(mp_sum(W fourier(time), label(y), 0.5)). The output is multiplied by a learned gain that
    starts at 0, as is the embedding in each block.

    The training calls `after_step` after each step, which puts the weights back to magnitude 1; averages have taken
    them before that, as they were.

    Args:
        shape: (C, H, W) of the images.
        channels: feature channels of the first level.
        channel_mult: channels of each level as multiples; every further level halves H and W.
        num_res_blocks: residual blocks of a level on the way down (one more on the way up).
        attention_resolutions: heights of the maps with self-attention; the innermost have it in any case.
        head_dim: channels of an attention head.
        dropout: dropout inside residual blocks.
        num_classes: number of classes, None for an unconditional network.
        time_scale: factor of the time before its waves: 0.001 gives EDM's c_noise = ln(sigma) / 4 on schedule=edm.
        checkpointing: keep only what goes from block to block for the backward pass and compute the rest again, for
            less memory and about a third more time; gradients are the same (Chen et al. 2016).

    Raises:
        UserError: H or W cannot be halved often enough, a resolution of the list does not occur, or head_dim does not
            divide the channels.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int,
        channel_mult: Sequence[float],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        head_dim: int = 64,
        dropout: float = 0.0,
        num_classes: int | None = None,
        time_scale: float = 0.001,
        checkpointing: bool = False,
    ):
        super().__init__()
        (image_channels, height, image_width), channel_mult = shape, list(channel_mult)
        check_counts({"channels": channels, "channel_mult": channel_mult, "num_res_blocks": num_res_blocks})
        heights = map_heights(height, image_width, len(channel_mult))
        check_attention(attention_resolutions, heights, shape)
        widths = [round(channels * mult) for mult in channel_mult]
        attended = [w for w, h in zip(widths, heights, strict=True) if h in attention_resolutions]
        check_divides("head_dim", head_dim, [*attended, widths[-1]])
        self.num_classes, self.time_scale, self.checkpointing = num_classes, time_scale, checkpointing

        first, embedding = widths[0], max(widths)
        self.input = MPConv(image_channels + 1, first, 3)
        self.waves = MPFourier(first)
        self.noise = MPLinear(first, embedding)
        self.label = None if num_classes is None else MPLabel(num_classes, embedding)
        layout = (first, widths, heights, num_res_blocks)
        down, up = way_down(*layout), way_up(*layout)
        self.joins = [place.skip for place in up]

        def block(place: Place, up: bool, attention: bool) -> "EDM2Block":
            return EDM2Block(place, up, embedding, dropout, place.width // head_dim if attention else 0)

        self.down = nn.ModuleList(block(p, False, p.height in attention_resolutions and not p.resample) for p in down)
        self.up = nn.ModuleList(
            block(p, True, i == 0 or (p.height in attention_resolutions and p.skip)) for i, p in enumerate(up)
        )
        self.output = MPConv(first, image_channels, 3)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, time: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the output at x (n, C, H, W), time (n,), labels y (n,) int64, -1 or None for no label."""
        dtype = self.input.weight.dtype  # of the weights: a network cast to half takes float32 images all the same
        embedding = self.noise(self.waves(self.time_scale * time).to(dtype))
        if self.label is not None:
            y = torch.full_like(time, -1, dtype=torch.long) if y is None else y
            embedding = mp_sum(embedding, self.label(y).to(embedding.dtype), LABEL)
        embedding = mp_silu(embedding)
        h = self.input(torch.cat([x.to(dtype), torch.ones_like(x[:, :1], dtype=dtype)], dim=1))
        skips = [h]
        for block in self.down:
            h = call(block, self.checkpointing, h, embedding)
            skips.append(h)
        for block, joins in zip(self.up, self.joins, strict=True):
            h = mp_cat(h, skips.pop(), SKIP) if joins else h
            h = call(block, self.checkpointing, h, embedding)
        return self.output(h, self.gain)

    def after_step(self) -> None:
        """Put every weight back to magnitude 1."""
        renormalize(self)


class EDM2Block(nn.Module):
    """Residual block: [resample,] mp_silu, conv, * (1 + gain W embedding), mp_silu, dropout, conv; then attention.

    On the way down the input is first reduced to the block's width and its channels are normalised at each pixel; on
    the way up it is reduced only where it is added.

    Args:
        place: channels, and whether the map is halved or doubled first.
        up: whether the block stands on the way up.
        embedding_dim: of the embedding.
        heads: of the attention behind it; 0 for none.
    """

    def __init__(self, place: Place, up: bool, embedding_dim: int, dropout: float, heads: int):
        super().__init__()
        width_in, width = place.width_in, place.width
        self.resample, self.way_up, self.heads = place.resample, up, heads
        self.skip = MPConv(width_in, width, 1) if width_in != width else None
        self.conv_1 = MPConv(width_in if up else width, width, 3)
        self.embedding = MPLinear(embedding_dim, width)
        self.gain = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = MPConv(width, width, 3)
        # The channels that come out are (head, channel of the head, one of q, k and v).
        self.qkv = MPConv(width, 3 * width, 1) if heads else None
        self.out = MPConv(width, width, 1) if heads else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        if not self.way_up:
            x = normalize(x if self.skip is None else self.skip(x), [1])
        scale = self.embedding(embedding, self.gain)[:, :, None, None] + 1
        h = mp_silu(self.conv_1(mp_silu(x)) * scale)
        h = self.conv_2(self.dropout(h))
        if self.way_up and self.skip is not None:
            x = self.skip(x)
        h = mp_sum(x, h.to(x.dtype), RESIDUAL)
        if self.heads:
            h = mp_sum(h, self._attention(h).to(h.dtype), ATTENTION)
        return h.clamp(-LARGEST, LARGEST)

    def _attention(self, x: Tensor) -> Tensor:
        """Return cosine attention over the positions: queries, keys and values have magnitude 1."""
        assert self.qkv is not None
        assert self.out is not None
        n, c, h, w = x.shape
        qkv = normalize(self.qkv(x).reshape(n, self.heads, c // self.heads, 3, h * w), [2])
        q, k, v = qkv.permute(3, 0, 1, 4, 2)  # each (n, heads, hw, head_dim)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h, w)
        return self.out(mixed)
