"""List, link, prune and test the files of checkpoints/. Without torch.

step-00000500.ckpt is the state after 500 optimizer steps. last.ckpt is another name of the newest of them: a hard link
where the file system has hard links, so that it takes no space of its own.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path

from inkwash.files import archive_damage, insisting

STEP = re.compile(r"step-(\d+)\.ckpt")


class CheckpointFolder:
    """Folder checkpoints/ of a run."""

    def __init__(self, path: Path):
        self.path = path
        self.last = path / "last.ckpt"
        self.best = path / "best.ckpt"

    def of_step(self, step: int) -> Path:
        """Return the path of the state after a step, which need not exist."""
        return self.path / f"step-{step:08d}.ckpt"

    def by_step(self) -> dict[int, Path]:
        """Map steps to the files that exist, the oldest first."""
        found = ((STEP.fullmatch(path.name), path) for path in self.path.glob("step-*.ckpt"))
        return dict(sorted((int(match[1]), path) for match, path in found if match))

    def newest_first(self) -> list[Path]:
        """List every file that training could resume from, the newest first."""
        steps = [*reversed(self.by_step().values())]
        if not self.last.exists() or any(self.last.samefile(path) for path in steps):
            return steps
        return [self.last, *steps]  # a copied run: copying makes two files of one hard link

    def point_last(self, path: Path) -> None:
        """Make last.ckpt another name of a file of this folder."""
        link = self.path / "last.ckpt.partial"
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, link)
        os.replace(link, self.last)

    def prune(self, keep: int, step: int) -> None:
        """Delete all but the newest `keep` files up to a step; later files are of a resume that was given up."""
        files = self.by_step()
        newest = [at for at in files if at <= step][-keep:]
        for at in files.keys() - set(newest):
            files[at].unlink()

    def remove_partial(self) -> None:
        """Delete the unfinished files of killed processes."""
        for partial in self.path.glob("*.partial"):
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint file, None if it is sound."""
    if not path.is_file():
        return "it is not a regular file"  # perhaps a pipe: reading it would wait for ever
    try:
        return insisting(lambda: archive_damage(path))
    except OSError as error:
        return str(error)
