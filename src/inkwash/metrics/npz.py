"""Statistics of real images in the .npz format of pytorch-fid and EDM, with their provenance."""

import json
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from inkwash.errors import UserError
from inkwash.files import replacing
from inkwash.metrics.moments import Moments


@dataclass(frozen=True)
class Provenance:
    """Images and extractor that statistics were computed from; None for what a file does not say."""

    n_real: int | None = None
    extractor: str | None = None
    extractor_hash: str | None = None
    data: str | None = None  # the split's fingerprint
    split: str | None = None
    preprocessing: str | None = None

    @property
    def unknown(self) -> list[str]:
        return [field.name for field in fields(self) if getattr(self, field.name) is None]


def write_npz(path: str | Path, moments: Moments, provenance: Provenance) -> None:
    """Write arrays mu (d,) and sigma (d, d), float64, and beside them `provenance`, JSON that other readers skip.

    The file appears whole, by a rename.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "wb") as file:  # np.savez would add a suffix to a name
            np.savez(
                file,
                mu=moments.mean.cpu().numpy(),
                sigma=moments.covariance.cpu().numpy(),
                provenance=np.array(json.dumps(asdict(provenance))),
            )
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def read_npz(path: str | Path, expected: Provenance | None = None) -> tuple[Moments, Provenance]:
    """Read the statistics of a file of ours, of pytorch-fid or of EDM, and their provenance.

    Args:
        expected: the provenance that the statistics must have; fields that are None here or in the file are not
            compared.

    Raises:
        UserError: the file cannot be read, holds no such statistics, or has another provenance.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mu, sigma = (torch.from_numpy(np.asarray(file[name], dtype=np.float64)) for name in ("mu", "sigma"))
            stored = json.loads(str(file["provenance"])) if "provenance" in file else {}
        provenance = Provenance(**stored)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file of reference statistics") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an .npz file with arrays mu and sigma: {error}") from error
    if mu.dim() != 1 or sigma.shape != (len(mu), len(mu)) or not (mu.isfinite().all() and sigma.isfinite().all()):
        raise UserError(
            f"{path}: mu {tuple(mu.shape)} and sigma {tuple(sigma.shape)} must be finite, of shapes (d,) and (d, d)"
        )
    for field in fields(Provenance):
        theirs, ours = getattr(provenance, field.name), getattr(expected, field.name, None)
        if None not in (theirs, ours) and theirs != ours:
            raise UserError(f"{path} was made with {field.name}={theirs}, not {ours}: values would not compare")
    return Moments(provenance.n_real or 0, mu, sigma), provenance
