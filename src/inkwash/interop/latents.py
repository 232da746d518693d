"""Latents of a run's autoencoder, for other programs: which one it is, and what its decoder takes."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inkwash.autoencoders.files import HUB_NAME
from inkwash.autoencoders.pretrained import Pretrained
from inkwash.errors import UserError
from inkwash.files import read_json, write_json
from inkwash.run import Run

CODE = Path(__file__).parent / "assets" / "latent_pipeline.py"
CODE_CLASS = "LatentPipeline"


@dataclass(frozen=True)
class Latents:
    """Describe the latents z, (n, c, h, w), that a network draws: the decoder takes z * std + mean.

    Attributes:
        kind: class of the autoencoder, by diffusers' name if it is one of theirs.
        name: on the Hugging Face hub, or the last part of its path.
        fingerprint: of its weights (Autoencoder.fingerprint).
        mean, std: of each channel.
    """

    kind: str
    name: str
    fingerprint: str
    mean: list[float]
    std: list[float]

    def contract(self) -> dict[str, str]:
        """Return this by the names of files' metadata."""
        about = f"{self.kind} {self.name}".strip()
        return {
            "autoencoder": f"{about}, fingerprint {self.fingerprint}; decodes z * latents_std + latents_mean",
            "latents_mean": json.dumps(self.mean),
            "latents_std": json.dumps(self.std),
        }

    def plain(self) -> str:
        """Return this as JSON."""
        return json.dumps(asdict(self))


def latents_of(run: Run) -> Latents | None:
    """Return what a run's network draws if that is no image; None for pixels."""
    autoencoder = run.autoencoder
    if autoencoder is None or autoencoder.bounded:
        return None
    kind = autoencoder.kind if isinstance(autoencoder, Pretrained) else type(autoencoder).__name__
    path = str(run.config["autoencoder"].get("path") or "")
    name = path if HUB_NAME.fullmatch(path) and not Path(path).exists() else Path(path).name  # no path of this machine
    std = (autoencoder.dev.double() / autoencoder.std).flatten().tolist()
    return Latents(kind, name, autoencoder.fingerprint, autoencoder.mean.flatten().tolist(), std)


def write_parts(folder: Path, run: Run, latents: Latents) -> dict[str, Any]:
    """Write vae/ and pipeline.py into the folder of a pipeline; return what they add to model_index.json.

    Raises:
        UserError: the autoencoder is none of diffusers'.
    """
    if not isinstance(run.autoencoder, Pretrained):
        raise UserError(
            f"autoencoder: {latents.kind} has no counterpart in diffusers: use format=safetensors, onnx or "
            "torch_export, which hold the network on latents"
        )
    run.autoencoder.model.save_pretrained(folder / "vae")
    config = read_json(folder / "vae" / "config.json")
    config.pop("_name_or_path", None)  # a path of this machine
    write_json(folder / "vae" / "config.json", config)
    shutil.copyfile(CODE, folder / "pipeline.py")
    return {
        "vae": ["diffusers", latents.kind],
        "latents_mean": latents.mean,
        "latents_std": latents.std,
        "num_classes": run.num_classes,
        "freq_shift": getattr(run.denoiser.net, "freq_shift", 0),
    }
