"""python -m inkwash.export run=DIR out=PATH [overrides]: a run's network for other programs."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from inkwash import command
from inkwash.check import check
from inkwash.errors import UserError, user_error
from inkwash.sample import find_run


@dataclass
class Export:
    """conf/export.yaml."""

    run: str = MISSING
    out: str = MISSING
    format: str = "diffusers"
    checkpoint: str = "last.ckpt"
    weights: str = "ema"


ConfigStore.instance().store(name="export_schema", node=Export)


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Around a command that works in this process: end with one sentence for a user's mistake."""
    try:
        yield
    except Exception as error:
        if not (mistake := user_error(error)) and not isinstance(error, OSError):
            raise
        print(f"error: {mistake or error}", file=sys.stderr)
        sys.exit(1)


def export(config: DictConfig) -> None:
    """Write OUT, a folder or a file, and say what is in it."""
    with one_sentence():
        check(config)
        directory = find_run(config.run)
        from inkwash import interchange  # torch, which a misspelt key need not wait for

        formats = {"diffusers": interchange.export_diffusers, "safetensors": interchange.export_safetensors}
        if config.format not in formats:
            raise UserError(f"format={config.format} must be {' or '.join(formats)}")
        out = formats[config.format](directory, config.out, config.weights, config.checkpoint)
    print(f"{out}    {config.weights} weights of {directory / 'checkpoints' / config.checkpoint}")


def main() -> None:
    command.run(export, "export")


if __name__ == "__main__":
    main()
