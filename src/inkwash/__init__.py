"""Inkwash: train image diffusion models as experiments (PyTorch Lightning, Hydra, Weights & Biases).

Everything is one equation, x_t = alpha * x_0 + sigma * eps, with data x_0 and noise eps ~ N(0, I): `process` holds the
paths t -> (alpha, sigma), `nets` the networks, `denoiser` joins the two, `losses` train it, `samplers` sample from it.
`training` wraps that in a LightningModule, `jobs` holds the function that each process of a job runs, `commands` the
commands that people type. The way of a command: commands -> config (compose and check) -> runs (the directory) ->
launch (the processes) -> jobs -> training.

In a notebook:

    import inkwash
    run = inkwash.load_run("runs/NAME")      # an inkwash.Run: .denoiser, .config, .sample(...)
    config = inkwash.compose("experiment=edm", "model.channels=64")     # what `make train` would train
    net = hydra.utils.instantiate(config.model)         # after `import hydra`
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inkwash.config.cli import compose
    from inkwash.run import Run, load_run

__version__ = "0.1.0"
__all__ = ["Run", "compose", "load_run"]

# `python -m inkwash.train` and the like, the commands' older names.
__path__.append(str(Path(__file__).parent / "aliases"))

_LAZY = {"Run": "inkwash.run", "load_run": "inkwash.run", "compose": "inkwash.config.cli"}


def __dir__() -> list[str]:
    """List the lazy names too, for completion in a notebook."""
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds."""
    if name not in _LAZY:
        raise AttributeError(f"module 'inkwash' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
