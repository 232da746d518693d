"""`inkwash export run=DIR out=PATH`: write a run for diffusers, as ONNX or torch.export files, or as safetensors."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError, user_error
from inkwash.interop import formats, hub
from inkwash.runs.directory import RunDirectory

# Keys that change where the export goes, and not what is in it.
OF_THE_WAY = ("out", "push", "dry", "private", "run")


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """End a command that works in this process with one sentence for a user's mistake."""
    try:
        yield
    except Exception as error:
        if not (mistake := user_error(error)) and not isinstance(error, OSError):
            raise
        print(f"error: {mistake or error}", file=sys.stderr)
        sys.exit(1)


def export(config: DictConfig) -> None:
    """Write `out`, a folder or a file, print what it holds, and send it if `push` says where to."""
    with one_sentence():
        check(config)
        run = RunDirectory.find(config.run)
        formats.check(config.format, run)
        if config.push is None and Path(config.out).exists():
            raise UserError(f"out={config.out} exists already: choose another name or delete it")
        if config.push is not None:
            hub.check_repo(config.push)
            if config.format == "safetensors":
                raise UserError("push= needs a folder with a card: use format=diffusers, onnx or torch_export")
        record = record_of(config, run)
        if config.push is not None and formats.is_export_of(Path(config.out), record):
            out = Path(config.out)  # the same command without dry=true, for example
        else:
            out = formats.export(config.format, run.path, config.out, config.weights, config.checkpoint, record)
        print(f"{out}    {config.weights} weights of {run.checkpoints.path / config.checkpoint}")
        if config.push is not None:
            hub.push(out, config.push, "model", config.dry, config.private, formats.FILES)


def record_of(config: DictConfig, run: RunDirectory) -> dict[str, Any]:
    """Return what the contents of `out` depend on: the same record means the same contents."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    path = run.checkpoints.path / config.checkpoint
    stat = path.stat() if path.is_file() else None
    return {
        "run": run.path.resolve().name,
        **{key: value for key, value in plain.items() if key not in OF_THE_WAY},
        "repo": config.push,
        "checkpoint_file": None if stat is None else [stat.st_size, stat.st_mtime_ns],
    }


def main() -> None:
    cli.run(export, "export")
