"""`inkwash export run=DIR out=PATH`: write a run's network for diffusers, or as safetensors."""

import contextlib
import sys
from collections.abc import Iterator

from omegaconf import DictConfig

from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError, user_error
from inkwash.runs.directory import RunDirectory


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
    """Write `out`, a folder or a file, and print what it holds."""
    with one_sentence():
        check(config)
        run = RunDirectory.find(config.run)
        from inkwash.interop import pipeline  # imports torch: only after the configuration is checked

        formats = {"diffusers": pipeline.export_diffusers, "safetensors": pipeline.export_safetensors}
        if config.format not in formats:
            raise UserError(f"format={config.format} must be {' or '.join(formats)}")
        out = formats[config.format](run.path, config.out, config.weights, config.checkpoint)
    print(f"{out}    {config.weights} weights of {run.checkpoints.path / config.checkpoint}")


def main() -> None:
    cli.run(export, "export")
