"""Statistics of real images as pytorch-fid's and EDM's files hold them, with how they came about."""

import json
import os
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from inkwash.errors import UserError
from inkwash.metrics.moments import Moments


@dataclass(frozen=True)
class Provenance:
    """What statistics were made of; None where a file does not say."""

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
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:  # np.savez would add a suffix to a name
            np.savez(
                file,
                mu=moments.mean.cpu().numpy(),
                sigma=moments.covariance.cpu().numpy(),
                provenance=np.array(json.dumps(asdict(provenance))),
            )
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def read_npz(path: str | Path, expected: Provenance | None = None) -> tuple[Moments, Provenance]:
    """Statistics from a file of ours, of pytorch-fid or of EDM, and what it says of itself.

    Args:
        expected: what this evaluation compares with; fields that are None there or in the file are not compared.

    Raises:
        UserError: no such statistics in the file, or others than expected.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mu, sigma = (torch.from_numpy(np.asarray(file[name], dtype=np.float64)) for name in ("mu", "sigma"))
            stored = json.loads(str(file["provenance"])) if "provenance" in file else {}
        provenance = Provenance(**stored)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file of reference statistics") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no .npz file with arrays mu and sigma: {error}") from error
    if mu.dim() != 1 or sigma.shape != (len(mu), len(mu)) or not (mu.isfinite().all() and sigma.isfinite().all()):
        raise UserError(
            f"{path}: mu {tuple(mu.shape)} and sigma {tuple(sigma.shape)} must be finite, of shapes (d,) and (d, d)"
        )
    for field in fields(Provenance):
        theirs, ours = getattr(provenance, field.name), getattr(expected, field.name, None)
        if None not in (theirs, ours) and theirs != ours:
            raise UserError(f"{path} was made with {field.name}={theirs}, not {ours}: values would not compare")
    return Moments(provenance.n_real or 0, mu, sigma), provenance
