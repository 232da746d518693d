"""The files of checkpoints/: which there are, which are sound, which may go. No torch: the launcher asks too.

step-00000500.ckpt is the state after 500 optimizer steps; last.ckpt is another name of the newest of them, a hard link
where the disk has such, so that it takes no room of its own.
"""

import contextlib
import os
import re
import shutil
import zipfile
from pathlib import Path

LAST = "last.ckpt"
STEP = re.compile(r"step-(\d+)\.ckpt")


def step_file(directory: Path, step: int) -> Path:
    """Where the state after a step is kept."""
    return directory / "checkpoints" / f"step-{step:08d}.ckpt"


def step_files(directory: Path) -> dict[int, Path]:
    """What is kept, by step, the oldest first."""
    found = ((STEP.fullmatch(path.name), path) for path in (directory / "checkpoints").glob("step-*.ckpt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def candidates(directory: Path) -> list[Path]:
    """Every file that training could go on from, the newest first."""
    steps = [*reversed(step_files(directory).values())]
    last = directory / "checkpoints" / LAST
    if not last.exists() or any(last.samefile(path) for path in steps):
        return steps
    return [last, *steps]  # a copied run: copying makes two files of one


def damage(path: Path) -> str | None:
    """What is wrong with a file, or None. torch.save writes a zip archive, with a CRC-32 of every record."""
    if not path.is_file():
        return "it is no file"  # but a pipe, perhaps, which nobody writes to
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                return "it is compressed, which torch.save does not do"  # and may grow without end
            bad = archive.testzip()
    except zipfile.BadZipFile:
        return "it is cut short, or something else"
    except Exception as error:  # anything, from bytes that may be anything
        return str(error) or type(error).__name__
    return None if bad is None else f"the checksum of {bad} is wrong"


def point_last(path: Path) -> None:
    """Make last.ckpt another name of the file."""
    link = path.with_name(f"{LAST}.partial")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, link)
    os.replace(link, path.with_name(LAST))


def prune(directory: Path, keep: int, step: int) -> None:
    """Keep the newest `keep` files up to a step: what is later belongs to a future that was given up."""
    files = step_files(directory)
    kept = [at for at in files if at <= step][-keep:]
    for at in files.keys() - set(kept):
        files[at].unlink()


def sweep_up(directory: Path) -> None:
    """Remove what writers that were killed left half written."""
    for partial in (directory / "checkpoints").glob("*.partial"):
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
