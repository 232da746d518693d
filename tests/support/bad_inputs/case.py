"""A case of the corpus, and what all cases share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
QUICK = (
    "debug=fast", "logger=csv", "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true", "model.channels=8",
    "data.batch_size=16", "~callbacks.evaluation",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command that must be refused.

    Attributes:
        name: the kind first: `values/model.channels=abc`.
        module: of inkwash.
        arguments: of the command line.
        says: text that the sentence must contain: a key, a file.
        make: writes files into the folder that the command runs in.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    says: str
    make: Callable[[Path], object] = lambda work: None
