"""Walk through a folder and what is linked into it, and tell a file from its links."""

import os
from pathlib import Path

from inkwash.data.facts import PassedOver, note
from inkwash.data.unseen import unseen
from inkwash.files import insisting


class Walk:
    """The visible files below a folder. Links come after all that is reached without one, each real path once."""

    def __init__(self, root: Path, passed_over: PassedOver):
        self.root, self.passed_over = root, passed_over
        self.files: list[Path] = []
        self.folders: set[str] = set()  # real paths
        self.links: list[os.DirEntry[str]] = []
        self._visit(root)
        if self.links:
            self._follow({os.path.realpath(file) for file in self.files})

    def _visit(self, start: Path) -> list[Path]:
        """Add the files below a folder that needs no link to be reached; return them."""
        waiting, found = [start], []
        while waiting:
            folder = waiting.pop()
            self.folders.add(os.path.realpath(folder))
            for entry in entries(folder):
                if reason := unseen([entry.name]):
                    self._pass_over(reason, entry.path)
                elif entry.is_symlink():
                    self.links.append(entry)
                elif entry.is_dir():
                    waiting.append(Path(entry.path))
                else:
                    found.append(Path(entry.path))
        self.files += found
        return found

    def _follow(self, real: set[str]) -> None:
        """Follow the links, those that are found on the way too."""
        while self.links:
            link = self.links.pop(0)
            target = os.path.realpath(link.path)
            if target in self.folders or target in real:
                self._pass_over("links to what is there already", link.path)
            elif os.path.isdir(target):
                real.update(os.path.realpath(file) for file in self._visit(Path(link.path)))
            else:
                real.add(target)
                self.files.append(Path(link.path))

    def _pass_over(self, reason: str, path: str) -> None:
        note(self.passed_over, reason, str(Path(path).relative_to(self.root)))


def real_file(file: Path) -> object:
    """Return what a file has in common with its links, symbolic and hard; its path in a zip file, or if missing."""
    try:
        state = insisting(file.stat)
    except OSError:
        return file
    return state.st_dev, state.st_ino


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder, in the order of names; again if a network file system fails for a moment."""

    def read() -> list[os.DirEntry[str]]:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)

    return insisting(read)
