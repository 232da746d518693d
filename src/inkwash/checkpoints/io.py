"""Writing checkpoints so that a kill never leaves half of one, and reading them without running what is in them."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from inkwash.config.renames import in_todays_names
from inkwash.errors import UserError, chain
from inkwash.runs.checkpoint_files import damage


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, flush to disk, rename. Lightning's own goes through the temp folder, where the final
    move is a copy when that is another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Raises UserError when the disk does not take it; what was there before is as it was."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync(path.parent)
        except Exception as error:
            partial.unlink(missing_ok=True)
            # torch's writer raises an error of its own on top of the disk's.
            refusal = next((e for e in chain(error) if isinstance(e, OSError)), None)
            if refusal is None:
                raise
            raise UserError(
                f"{path} cannot be written ({refusal.strerror}): the checkpoints before it are kept; free some space, "
                "or keep fewer with callbacks.checkpoint.keep=1, and start the same command again"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))


# What a checkpoint has at the least, and what going on after the first step needs beside that.
CONTENT = {"state_dict": dict, "global_step": int}
OF_TRAINING = {"loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list, "scores": dict}


def read_checkpoint(path: Path, training: bool = False) -> dict[str, Any]:
    """A checkpoint's content, plain types and tensors only, on the CPU.

    Args:
        training: it must have what a resume needs.

    Raises:
        UserError: the file is none.
    """
    found = read_plain(path)
    if (reason := _lacks(found, training)) is not None:
        raise UserError(f"{path} is no readable checkpoint ({reason}): delete it or use another")
    if "config" in found:
        found["config"] = in_todays_names(found["config"])
    return found


def read_plain(path: Path) -> Any:
    """What torch.save wrote, plain types and tensors only, on the CPU. Raises UserError for a file of anything else."""
    reason = damage(path)
    if reason is None or (path.is_file() and not _is_zip(path)):  # an older format of torch's, perhaps
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            reason = reason or "it holds other things than text, numbers and tensors, which are not looked at"
        except Exception as error:  # a damaged pickle raises anything, a KeyError for one
            reason = reason or str(error).partition("\n")[0]
    raise UserError(f"{path} is no readable checkpoint ({reason}): delete it or use another")


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # one that says it has other parts
        return True


def _lacks(found: Any, training: bool) -> str | None:
    """What a file that is sound as such lacks to be a checkpoint of ours."""
    if not isinstance(found, dict):
        return f"it holds a {type(found).__name__}"
    # An imported run has made no step, and has no state of training yet.
    content = CONTENT | OF_TRAINING if training and found.get("global_step") != 0 else CONTENT
    content = content | {key: dict for key in ("config", "layout") if key in found}
    odd = next((key for key, kind in content.items() if not isinstance(found.get(key), kind)), None)
    if odd is not None:
        return f"{odd} is missing, or of another kind"
    weights = all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found["state_dict"].items())
    return None if weights and found["global_step"] >= 0 else "its weights or its step are none"


def _sync(folder: Path) -> None:
    """Have the renaming survive a power failure too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
