"""Diffusion transformer: DiT, and with its switches SiT, LightningDiT and JiT.

The image is cut into patches of p x p pixels, a token each; blocks of self-attention and MLP, conditioned on time and
class by adaptive normalisation, work on tokens of one width D; a linear layer turns each token into the pixels of its
patch. The cost grows with T D^2 + T^2 D, T = (H / p) (W / p): the patch decides it.

| | source | what differs from DiT |
|---|---|---|
| DiT | Peebles & Xie 2023 | |
| SiT | Ma et al. 2024 | time in [0, 1]: time_scale 0.001 |
| LightningDiT | Yao & Wang 2025 | that, rms_norm, swiglu, rotary, and qk_norm as an option |
| JiT | Li & He 2025 | those, a bottleneck before the tokens and context tokens; large patches, prediction=x0 |
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inkwash.errors import UserError
from inkwash.nets.blocks import conv, linear, sinusoidal_embedding, until_zero, zeroed
from inkwash.nets.positions import Rotation, grid_embedding, grid_rotation
from inkwash.nets.transformer import Block, modulate, norm, prepend

TIME_WAVES = 256  # features of the time before its MLP
STD = 0.02  # of the normal initialisation of embeddings and of the time's MLP


class DiT(nn.Module):
    """Transformer on patches that maps a noisy image, its time and perhaps its class to an output of its shape.

    Args:
        shape: (C, H, W) of the images.
        patch_size: side of a patch in pixels; it must divide H and W.
        width: D, the features of a token.
        depth: number of blocks.
        num_heads: attention heads of a block.
        mlp_ratio: features inside an MLP over D; with swiglu two thirds of it, which makes as many weights.
        num_classes: number of classes, None for an unconditional network.
        learn_variance: give as many output channels again, for v of a learned variance (process/variances.py).
        checkpointing: keep only what goes from block to block for the backward pass and compute the rest again, for
            less memory and about a third more time; gradients are the same (Chen et al. 2016).
        time_scale: factor of the time before its sinusoids: 1 for times of 0 to 1000 as in DiT, 0.001 for the same
            times as 0 to 1.
        freq_shift: of the time's sinusoids (see blocks.sinusoidal_embedding): 0 as in DiT, 1 as diffusers has it.
        sincos: add a sin-cos table of the positions to the tokens (positions.py).
        rotary: turn queries and keys by their positions (positions.py).
        rms_norm: RMS norms with a gain in place of layer norms without.
        swiglu: SwiGLU in place of the MLP with GELU.
        qk_norm: normalise queries and keys, which keeps attention bounded.
        bottleneck: features to which a patch is reduced before it becomes a token; None for no bottleneck.
        context_tokens: number of tokens that carry the class beside c, each with a learned offset (JiT, "in-context").
        context_start: number of the block before which they join; they are left out at the end.
        two_times: take the time at which a step ends, too (network.py): an MLP of its distance joins c, from 0.
        dropout: in the middle half of the blocks, after attention and inside the MLP (Li & He 2025, appendix A).

    Raises:
        UserError: the patch does not divide the image, or the heads the width, or a value is out of its range.
    """

    not_hidden = ("head.weight",)  # it writes pixels; of a convolution muon.py would see that by itself

    def __init__(
        self,
        shape: Sequence[int],
        patch_size: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        num_classes: int | None = None,
        learn_variance: bool = False,
        checkpointing: bool = False,
        time_scale: float = 1.0,
        freq_shift: int = 0,
        sincos: bool = True,
        rotary: bool = False,
        rms_norm: bool = False,
        swiglu: bool = False,
        qk_norm: bool = False,
        bottleneck: int | None = None,
        context_tokens: int = 0,
        context_start: int = 0,
        two_times: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        channels, height, image_width = shape
        counts = {"patch_size": patch_size, "width": width, "depth": depth, "num_heads": num_heads}
        for name, count in {**counts, "bottleneck": 1 if bottleneck is None else bottleneck}.items():
            if count < 1:
                raise UserError(f"model.{name}={count} must be at least 1")
        for name, value in {"mlp_ratio": mlp_ratio, "time_scale": time_scale}.items():
            if not value > 0:
                raise UserError(f"model.{name}={value} must be above 0")
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout={dropout} must lie between 0 and 1")
        _check_patch(height, image_width, patch_size)
        _check_width(width, num_heads, sincos, rotary)
        _check_context(context_tokens, context_start, depth, num_classes)
        self.num_classes, self.patch_size, self.checkpointing = num_classes, patch_size, checkpointing
        self.time_scale, self.freq_shift, self.sincos, self.context_start = (
            time_scale,
            freq_shift,
            sincos,
            context_start,
        )
        self.head_dim = width // num_heads if rotary else None
        self.two_times = two_times

        self.patches = _patches(channels, patch_size, width, bottleneck)
        self.time = nn.Sequential(linear(TIME_WAVES, width), nn.SiLU(), linear(width, width))
        # The last row stands for "no label".
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)
        self.context = nn.Parameter(torch.empty(1, context_tokens, width)) if context_tokens else None
        hidden = int(2 * mlp_ratio * width / 3) if swiglu else int(mlp_ratio * width)
        if hidden < 1:
            raise UserError(f"model.mlp_ratio={mlp_ratio} leaves no feature inside the MLP at model.width={width}")
        middle = range(depth // 4, depth - depth // 4)
        self.blocks = nn.ModuleList(
            Block(width, num_heads, hidden, rms_norm, swiglu, qk_norm, dropout if i in middle else 0.0)
            for i in range(depth)
        )
        self.norm = norm(width, rms_norm)
        self.modulation = zeroed(linear(width, 2 * width))
        self.head = zeroed(linear(width, patch_size**2 * channels * (1 + learn_variance)))
        for part in (self.time[0], self.time[2], self.label):
            if part is not None:
                nn.init.normal_(part.weight, std=STD)  # pyright: ignore[reportArgumentType]
        if self.context is not None:
            nn.init.normal_(self.context, std=STD)
        self.distance = until_zero(linear(TIME_WAVES, width), linear(width, width)) if two_times else None

    def forward(self, x: Tensor, time: Tensor, y: Tensor | None = None, until: Tensor | None = None) -> Tensor:
        """Return the output at x (n, C, H, W), time (n,), labels y (n,) int64, -1 or None for no label.

        Args:
            until: the time at which a step ends, (n,), with two_times; None for `time`.
        """
        dtype = self.head.weight.dtype  # of the weights: a network cast to half takes float32 images all the same
        h, w = (side // self.patch_size for side in x.shape[2:])
        tokens = self.patches(x.to(dtype)).flatten(2).transpose(1, 2)  # (n, T, D)
        wide = time.new_empty(0, dtype=torch.promote_types(dtype, torch.float32))
        if self.sincos:
            tokens = tokens + grid_embedding(h, w, tokens.shape[2], wide).to(dtype)
        rotation = None if self.head_dim is None else grid_rotation(h, w, self.head_dim, wide)

        c = self.time(self._waves(time).to(dtype))
        if self.distance is not None:
            # A distance of 0, too, passes through the layers: without a gradient DDP would wait for one.
            c = c + self.distance(self._waves(torch.zeros_like(time) if until is None else time - until).to(dtype))
        label = self._label(time, y)
        c = c if label is None else c + label
        for i, block in enumerate(self.blocks):
            if self.context is not None and label is not None and i == self.context_start:
                tokens, rotation = prepend(tokens, self.context + label[:, None], rotation)
            tokens = self._apply_block(block, tokens, c, rotation)
        tokens = tokens[:, -h * w :]  # without the context
        shift, scale = self.modulation(F.silu(c))[:, None].chunk(2, dim=-1)
        return _image(self.head(modulate(self.norm(tokens), shift, scale)), h, w, self.patch_size)

    def _waves(self, time: Tensor) -> Tensor:
        return sinusoidal_embedding(self.time_scale * time, TIME_WAVES, freq_shift=self.freq_shift, cos_first=True)

    def _label(self, time: Tensor, y: Tensor | None) -> Tensor | None:
        """Return the label embeddings (n, D), None for a network without classes."""
        if self.label is None:
            return None
        y = torch.full_like(time, -1, dtype=torch.long) if y is None else y
        return self.label(torch.where(y < 0, self.label.num_embeddings - 1, y))

    def _apply_block(self, block: nn.Module, tokens: Tensor, c: Tensor, rotation: Rotation | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, tokens, c, rotation, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return block(tokens, c, rotation)


def _patches(channels: int, patch_size: int, width: int, bottleneck: int | None) -> nn.Module:
    """Return the layer that turns each patch into a token, (n, C, H, W) -> (n, D, H / p, W / p)."""
    reduced = nn.Conv2d(channels, bottleneck or width, patch_size, patch_size, bias=bottleneck is None)
    nn.init.xavier_uniform_(reduced.weight.flatten(1))  # as the linear layer that it is
    if bottleneck is not None:
        return nn.Sequential(reduced, conv(bottleneck, width, kernel=1))
    assert reduced.bias is not None
    nn.init.zeros_(reduced.bias)
    return reduced


def _image(tokens: Tensor, h: int, w: int, patch_size: int) -> Tensor:
    """Put patches together: (n, T, p p C), in a patch row by row with the channels innermost, -> (n, C, H, W)."""
    patches = tokens.unflatten(2, (patch_size, patch_size, -1)).unflatten(1, (h, w))  # (n, h, w, p, p, C)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, h * patch_size, w * patch_size)


def _check_patch(height: int, width: int, patch_size: int) -> None:
    if height % patch_size or width % patch_size:
        fitting = [str(p) for p in range(1, min(height, width) + 1) if height % p == 0 and width % p == 0]
        raise UserError(
            f"model.patch_size={patch_size} does not divide the images of data.shape, {height} x {width}: use "
            f"{' or '.join(fitting)}, or images of another size"
        )


def _check_width(width: int, num_heads: int, sincos: bool, rotary: bool) -> None:
    if width % num_heads:
        raise UserError(f"model.num_heads={num_heads} must divide model.width={width}, which the heads share")
    if sincos and width % 4:
        raise UserError(f"model.sincos=true needs a model.width that 4 divides, not {width}: sin and cos of x and of y")
    if rotary and width // num_heads % 4:
        raise UserError(
            f"model.rotary=true needs heads whose width 4 divides, not {width // num_heads}: change "
            f"model.width={width} or model.num_heads={num_heads}"
        )


def _check_context(context_tokens: int, context_start: int, depth: int, num_classes: int | None) -> None:
    if context_tokens < 0:
        raise UserError(f"model.context_tokens={context_tokens} must not be negative; 0 for no context tokens")
    if context_tokens and num_classes is None:
        raise UserError(
            f"model.context_tokens={context_tokens} carry the class, but model.num_classes=null: pass "
            "model.context_tokens=0"
        )
    if not 0 <= context_start < depth:
        raise UserError(f"model.context_start={context_start} must lie between 0 and model.depth - 1 = {depth - 1}")
