"""Keep the autoencoder of a training on latents: its device, its normalisation, and which one it is."""

import logging
from collections.abc import Iterator
from typing import Any

import lightning as L
from torch import Tensor

from inkwash.autoencoders.base import Autoencoder
from inkwash.autoencoders.files import keep
from inkwash.errors import UserError
from inkwash.images import InBlocks, to_float
from inkwash.training.callbacks.periodic import run_directory

log = logging.getLogger(__name__)

MEASURED = 2048  # training images that the normalisation is measured on


class Latents(L.Callback):
    """Measures the normalisation of the latents when a run begins; checkpoints hold it, with the autoencoder's hash.

    The run directory keeps the files of the autoencoder, so that the run can be moved and go on being drawn from.

    Every rank measures the same images, so that any number of ranks has the same normalisation.

    Args:
        autoencoder: of the data module.
    """

    def __init__(self, autoencoder: Autoencoder):
        self.autoencoder, self.fingerprint = autoencoder, autoencoder.fingerprint

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        kept = run_directory(trainer).autoencoder
        other = f", {kept} for one" if kept.is_dir() and self.autoencoder.place != str(kept) else ""
        restore(self.autoencoder, checkpoint, f"give the same weights as autoencoder.path{other}")

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.autoencoder.to(pl_module.device)
        path = pl_module.config["autoencoder"].get("path")
        if path is not None and trainer.is_global_zero:
            keep(path, run_directory(trainer).autoencoder)
        if not self.autoencoder.measured:
            train = trainer.datamodule.train  # pyright: ignore[reportAttributeAccessIssue]
            self.autoencoder.measure(self._moments(train))
        c, h, w = self.autoencoder.latent_shape
        mean, dev = (", ".join(f"{v:.3g}" for v in part[:8]) for part in self.autoencoder.normalisation().values())
        log.info("latents      %d x %d x %d; before normalisation mean %s, deviation %s", c, h, w, mean, dev)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["latents"] = {"autoencoder": self.fingerprint, **self.autoencoder.normalisation()}

    def _moments(self, train: Any) -> Iterator[Tensor]:
        """Yield the moments of training images: spread over the set, or the first ones of one read in blocks."""
        count, size = min(MEASURED, len(train)), self.autoencoder.batch_size
        together = isinstance(train, InBlocks)
        indices = [i if together else i * len(train) // count for i in range(count)]
        for start in range(0, count, size):
            images, _ = train.__getitems__(indices[start : start + size])
            yield self.autoencoder.moments_of(to_float(images.to(self.autoencoder.mean.device)))


def restore(autoencoder: Autoencoder, checkpoint: dict[str, Any], advice: str) -> None:
    """Give an autoencoder the normalisation of a checkpoint.

    Raises:
        UserError: that is another autoencoder's; the sentence ends with the advice.
    """
    stored = checkpoint.get("latents")
    if stored is None or stored["autoencoder"] != autoencoder.fingerprint:
        raise UserError(
            f"autoencoder: {autoencoder.place} is not the one that the run was trained with, whose latents are others: "
            f"{advice}"
        )
    autoencoder.restore(stored)
