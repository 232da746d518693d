"""Weights of published networks: downloaded once for a machine, and compared with their sha256 before each use."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock

from inkwash.errors import UserError


class Published(NamedTuple):
    """Published file of weights."""

    title: str
    url: str
    sha256: str  # hexadecimal, at least its first 8 digits
    filename: str  # in torch hub's cache

    @property
    def path(self) -> Path:
        """Where the file is, once it was downloaded."""
        return Path(torch.hub.get_dir(), "checkpoints", self.filename)

    def has_hash(self, digest: str) -> bool:
        """Return True if a file whose sha256 begins with `digest` is this one, as far as both are known."""
        return digest.startswith(self.sha256) or self.sha256.startswith(digest)


def find_weights(published: Published, path: str | None = None, sha256: str | None = None) -> tuple[Path, str]:
    """Return the path of the weights and their sha256.

    Args:
        path: `extractor.weights_path`; None for the published file in torch hub's cache, downloaded if it is missing.
        sha256: `extractor.weights_hash`, the hash of another file than the published one; None for the published one.

    Raises:
        UserError: the file can be neither found nor downloaded, or its hash is another one.
    """
    file = Path(path) if path else _downloaded(published)
    try:
        with open(file, "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"extractor.weights_path={file} cannot be read: {error.strerror}") from error
    if sha256 is not None:
        # Eight decimal digits may have been parsed as a number.
        if len(str(sha256)) < 8 or not digest.startswith(str(sha256)):
            raise UserError(f"extractor.weights_hash={sha256}, but the sha256 of {file} is {digest}")
    elif not digest.startswith(published.sha256):
        remedy = f"set extractor.weights_hash={digest} if you mean this file" if path else "delete it"
        raise UserError(
            f"{file} is not the published file of {published.title}, whose sha256 begins with "
            f"{published.sha256[:12]}: download {published.url} anew, or {remedy}"
        )
    return file, digest


def _downloaded(published: Published) -> Path:
    """Return the path in torch hub's cache, after one process of this machine has downloaded and checked the file."""
    path = published.path
    if path.exists():  # whole, because it appears by a rename; the folder may be read-only
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                torch.hub.download_url_to_file(published.url, str(path), published.sha256, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {published.title} cannot be downloaded ({error}): put {published.url} at {path}, "
            "set extractor.weights_path to a copy of it, or use extractor=classifier"
        ) from error
    return path
