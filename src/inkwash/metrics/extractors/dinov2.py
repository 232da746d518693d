"""Features of DINOv2 with torch-fidelity's preprocessing, without code that torch hub would download and run."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from inkwash.metrics.extractors.base import PublishedFeatures
from inkwash.metrics.extractors.weights import Published


class DINOv2Features(PublishedFeatures):
    """The class token of DINOv2 ViT-L/14 (Oquab et al. 2023), the features that Stein et al. 2023 recommend.

    Files of its other vision transformers without registers or SwiGLU work, too: sizes are read from the file.
    """

    name = "dinov2"
    preprocessing = "TensorFlow 1's bilinear resize to 224 x 224, ImageNet's mean and standard deviation"
    published = Published(
        "DINOv2 ViT-L/14",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        "dinov2_vitl14_pretrain.pth",
    )

    def load(self, path: Path) -> nn.Module:
        network = VisionTransformer(torch.load(path, map_location="cpu", weights_only=True), _Prepared.INPUT_IMAGE_SIZE)
        self.dim = network.class_token.shape[-1]
        return _Prepared(network).requires_grad_(False).eval()


class _Prepared(FeatureExtractorDinoV2):
    """torch-fidelity's resize and normalisation around our network; its own constructor loads torch hub's."""

    def __init__(self, network: nn.Module):
        FeatureExtractorBase.__init__(self, "dinov2-vit-l-14", ["dinov2"])
        self.feature_extractor_internal_dtype = torch.float32
        self.model = network


class VisionTransformer(nn.Module):
    """Vision transformer with sizes and weights from DINOv2's file: (B, 3, size, size) -> class token (B, d).

    LayerScale multiplies the output of a linear layer, so it is multiplied into its weights. The blocks are torch's.
    Heads have 64 channels in every model of the family.
    """

    def __init__(self, weights: dict[str, Tensor], size: int):
        super().__init__()
        width, _, patch, _ = weights["patch_embed.proj.weight"].shape
        depth = len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + (size // patch) ** 2, width))
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, width // 64, 4 * width, 0.0, "gelu", 1e-6, True, norm_first=True)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width, 1e-6)
        self.load_state_dict(_renamed(weights, size // patch), assign=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)  # (B, patches, d)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.norm(self.blocks(x)[:, 0])


NAMES = {  # DINOv2's -> torch's
    "patch_embed.proj": "patches",
    "attn.qkv.weight": "self_attn.in_proj_weight",
    "attn.qkv.bias": "self_attn.in_proj_bias",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "linear1",
    "mlp.fc2": "linear2",
    "cls_token": "class_token",
    "pos_embed": "positions",
}


def _renamed(weights: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Rename the weights to torch's names, multiply LayerScale in, resize positions to side x side patches."""
    renamed = {}
    for key, value in weights.items():
        if key == "mask_token" or key.endswith(".gamma"):
            continue
        for scale, map_ in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            if f".{map_}." in key:
                gamma = weights[f"{key.partition(map_)[0]}{scale}.gamma"]
                value = gamma.view(-1, *[1] * (value.dim() - 1)) * value
        for old, new in NAMES.items():
            key = key.replace(old, new)
        renamed[key] = _resized(value, side) if key == "positions" else value
    return renamed


def _resized(positions: Tensor, side: int) -> Tensor:
    """Resize (1, 1 + n * n, d) to (1, 1 + side * side, d), bicubic; the 0.1 in the scale is DINOv2's."""
    n = round((positions.shape[1] - 1) ** 0.5)
    if n == side:
        return positions
    grid = positions[:, 1:].reshape(1, n, n, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, scale_factor=(side + 0.1) / n, mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
