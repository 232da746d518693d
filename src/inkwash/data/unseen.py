"""Names that no image of a user's has: hidden files, and the folders that systems keep beside them."""

from collections.abc import Iterable

# In small letters. They hold thumbnails and deleted files, which are images too, and would make classes of their own.
SYSTEM = {
    "__macosx",  # of macOS, in zip and tar files
    "@eadir", "#recycle", "#snapshot",  # of Synology
    "@recycle", "@recently-snapshot",  # of QNAP
    "$recycle.bin", "system volume information",  # of Windows
    "lost+found",  # of ext4
}  # fmt: skip
HIDDEN, OF_THE_SYSTEM = "hidden", "in folders of the system, such as thumbnails and deleted files"


def unseen(parts: Iterable[str]) -> str | None:
    """Return why a file or folder is passed over by the parts of its path; None if it is not."""
    parts = [*parts]
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return HIDDEN
    return OF_THE_SYSTEM if any(part.lower() in SYSTEM for part in parts) else None
