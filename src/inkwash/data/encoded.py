"""Base class of sources of encoded images, which are decoded once into a memory-mapped cache (decoded.py).

Nothing here imports torch before images are loaded: the command asks a source for its labels (commands/auto_data.py).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inkwash.data.facts import Facts
from inkwash.data.paths import given
from inkwash.data.rendering import AS_IT_IS, Rendering

if TYPE_CHECKING:
    from inkwash.data.images import Images

DECODER = 2  # part of every cache key: raise it if `decode` gives other pixels


class Entry(NamedTuple):
    """An encoded image, its name in errors, and its label, -1 if it has none."""

    name: str
    encoded: bytes | Path
    label: int


class Entries(NamedTuple):
    """The encoded images of a split.

    version: changes if the files, the labels or the choice among them do.
    total: their number.
    stream: the images.
    facts: what was found beside them.
    """

    version: object
    total: int
    stream: Iterable[Entry]
    facts: Facts


class EncodedSource(ABC):
    """Base class of sources of encoded images; a subclass writes `find`.

    Args:
        resize: scale images to cover H x W and crop the centre; if false, every image must be H x W.
        skip_corrupt: leave out images that cannot be read instead of stopping.
        cache_dir: folder for decoded images, C * H * W bytes each. Anything in it may be deleted.
        rendering: what black, white and background say (rendering.py).
    """

    def __init__(self, resize: bool, skip_corrupt: bool, cache_dir: str, rendering: Rendering = AS_IT_IS):
        self.resize = resize
        self.skip_corrupt = skip_corrupt
        self.rendering = rendering
        self.cache_dir = Path(cache_dir).expanduser()

    @abstractmethod
    def find(self, split: str, path: Path) -> Entries:
        """Find the encoded images of a split ("train" or "heldout")."""

    def load(self, split: str, shape: tuple[int, int, int], path: str | None) -> "Images":
        """Load the decoded images of a split (see `Source.load`)."""
        from inkwash.data.decoded import Decoding, load_decoded  # not at the top: it imports torch

        entries = self.find(split, given(path))
        key = repr((DECODER, entries.version, shape, self.resize, self.skip_corrupt, self.rendering))
        directory = self.cache_dir / hashlib.sha256(key.encode()).hexdigest()[:32]
        how = Decoding(shape, self.resize, self.skip_corrupt, self.rendering)
        return load_decoded(directory, entries, how, f"decoding {split} images")
