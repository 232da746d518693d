"""push=user/name: send a folder to the Hugging Face hub, or list what would be sent. Without torch."""

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inkwash.errors import UserError

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_repo(repo: str) -> None:
    """Raise UserError unless a name is user/name."""
    if not REPO.fullmatch(repo):
        raise UserError(f"push={repo} must be user/name, the repository on the Hugging Face hub")


def push(folder: Path, repo: str, kind: str, dry: bool, private: bool, files: Sequence[str]) -> None:
    """Print what is sent, and send it unless `dry`.

    Args:
        repo: user/name, made if it does not exist.
        kind: model or dataset.
        private: whether a repository that is made is for its owner's eyes only.
        files: patterns of the files that are sent, by their names in the folder: it may hold others of its owner's.

    Raises:
        UserError: huggingface_hub is not installed, there is no token or no network, or the hub refuses.
    """
    check_repo(repo)
    found = chosen(folder, files)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    place = f"{endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    for name, size in found[:20]:
        print(f"{_size(size):>10}  {name}")
    if len(found) > 20:
        print(f"{_size(sum(size for _, size in found[20:])):>10}  in {len(found) - 20:,} more files")
    total = f"{len(found):,} files, {_size(sum(size for _, size in found))}"
    if dry:
        print(f"dry=true: nothing was sent. dry=false sends {total} to {place}")
        return
    _send(folder, repo, kind, private, files)
    print(f"sent {total} to {place}")


def chosen(folder: Path, files: Sequence[str]) -> list[tuple[str, int]]:
    """Return names, relative to the folder, and sizes of the files of these patterns, which are sent."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]
    return [(name, size) for name, size in named if any(fnmatch.fnmatch(name, pattern) for pattern in files)]


def _send(folder: Path, repo: str, kind: str, private: bool, files: Sequence[str]) -> None:
    """Make the repository if needed and upload the folder in a commit."""
    try:
        import huggingface_hub as hub  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("push= needs the package huggingface_hub: pip install 'inkwash[hub]'") from error
    token = hub.get_token()
    if token is None:
        raise UserError(f"push={repo}: there is no token of the Hugging Face hub: run `hf auth login`, or set HF_TOKEN")
    api: Any = hub.HfApi()
    try:
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder, allow_patterns=[*files],
                          commit_message="Upload from Inkwash")  # fmt: skip
    except Exception as error:  # the hub's, those of its HTTP library, and its own offline mode's have no common class
        reason = " ".join(str(error).split()).replace(token, "***")[:300] or type(error).__name__
        raise UserError(f"push={repo} failed, run the same command again: {reason}") from None


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
