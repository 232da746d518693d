"""Write checkpoints whole or not at all, and read them without running code from them."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from inkwash.config.renames import in_todays_names
from inkwash.errors import UserError, chain
from inkwash.files import insisting
from inkwash.runs.checkpoint_files import damage


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning plugin that writes a checkpoint beside its target, flushes it to the disk, and renames it.

    Lightning's own goes through the temporary folder: if that is another file system, its final move is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint. Raises UserError if the disk refuses it; a file that was there stays as it was."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.partial")

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync(path.parent)

        try:
            insisting(write)
        except Exception as error:
            partial.unlink(missing_ok=True)
            # torch's writer raises an error of its own from the disk's.
            refusal = next((e for e in chain(error) if isinstance(e, OSError)), None)
            if refusal is None:
                raise
            raise UserError(
                f"{path} cannot be written ({refusal.strerror}): the checkpoints before it are kept; free some space, "
                "or keep fewer with callbacks.checkpoint.keep=1, and start the same command again"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))


# Keys and types of every checkpoint, and those that a resume after the first step needs too.
CONTENT = {"state_dict": dict, "global_step": int}
OF_TRAINING = {"loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list, "scores": dict}


def read_checkpoint(path: Path, training: bool = False) -> dict[str, Any]:
    """Return a checkpoint's content, plain types and tensors only, on the CPU.

    Args:
        training: require what a resume needs.

    Raises:
        UserError: the file is not a checkpoint, or is damaged.
    """
    checkpoint = read_plain(path)
    if (reason := _missing(checkpoint, training)) is not None:
        raise UserError(f"{path} is not a readable checkpoint ({reason}): delete it or use another")
    if "config" in checkpoint:
        checkpoint["config"] = in_todays_names(checkpoint["config"])
    return checkpoint


def read_plain(path: Path) -> Any:
    """Return what torch.save wrote, on the CPU. Raises UserError unless it is plain types and tensors only."""
    reason = damage(path)
    if reason is None or (path.is_file() and not _is_zip(path)):  # an older format of torch's, perhaps
        try:
            return insisting(lambda: torch.load(path, map_location="cpu", weights_only=True))
        except pickle.UnpicklingError:
            reason = reason or "it holds other things than text, numbers and tensors, which are not loaded"
        except Exception as error:  # a damaged pickle raises anything, a KeyError for one
            reason = reason or str(error).partition("\n")[0]
    raise UserError(f"{path} is not a readable checkpoint ({reason}): delete it or use another")


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # a part of an archive of several files
        return True


def _missing(content: Any, training: bool) -> str | None:
    """Say what the content of a sound file lacks to be a checkpoint of ours, or return None."""
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    # An imported run has made no step, and has no state of training yet.
    required = CONTENT | OF_TRAINING if training and content.get("global_step") != 0 else CONTENT
    required = required | {key: dict for key in ("config", "layout") if key in content}
    bad = next((key for key, kind in required.items() if not isinstance(content.get(key), kind)), None)
    if bad is not None:
        return f"{bad} is missing, or of another type"
    weights = all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content["state_dict"].items())
    return None if weights and content["global_step"] >= 0 else "it holds no weights or no step"


def _sync(folder: Path) -> None:
    """Flush a folder to the disk, so that a renaming survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
