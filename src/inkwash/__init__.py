"""Inkwash: train image diffusion models as experiments (PyTorch Lightning, Hydra, Weights & Biases).

Everything is one equation, x_t = alpha * x_0 + sigma * eps, with data x_0 and noise eps ~ N(0, I): `process` holds the
paths t -> (alpha, sigma), `nets` the networks, `denoiser` joins the two, `losses` train it, `samplers` sample from it.
`training` wraps that in a LightningModule, `jobs` holds the function that each process of a job runs, `commands` the
commands that people type. The way of a command: commands -> config (compose and check) -> runs (the directory) ->
launch (the processes) -> jobs -> training.

In a notebook, where torch is imported when a name is first used:

    import inkwash
    run = inkwash.load_run("latest")         # a Run: .sample(16), .plot(), .metrics, .trajectory(4), .denoiser
    run = inkwash.fit(net, images, steps=1000)          # a Run too, of a tensor of images
    config = inkwash.compose("experiment=edm", "model.channels=64")     # what `make train` would train
    net = hydra.utils.instantiate(config.model)         # after `import hydra`

    Denoiser, UNet, DiffusionLoss            a network with its schedule and prediction; a network; the simple loss
    BetaSchedule, CosineSchedule, EDMSchedule, FlowSchedule, VPSchedule
    Ancestral, DDIM, DPMSolverPP2M, DPMSolverPP3M, Heun, UniPC          samplers, each of a spacing of times:
    Karras, Leading, Linspace, LogSNR, Shifted, Trailing
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inkwash.config.cli import compose
    from inkwash.denoiser import Denoiser
    from inkwash.fitting import fit
    from inkwash.losses.simple import DiffusionLoss
    from inkwash.nets.unet import UNet
    from inkwash.process.schedules import BetaSchedule, CosineSchedule, EDMSchedule, FlowSchedule, VPSchedule
    from inkwash.process.spacing import Karras, Leading, Linspace, LogSNR, Shifted, Trailing
    from inkwash.run import load_run
    from inkwash.samplers.ancestral import Ancestral
    from inkwash.samplers.ddim import DDIM
    from inkwash.samplers.dpm_solver import DPMSolverPP2M, DPMSolverPP3M
    from inkwash.samplers.heun import Heun
    from inkwash.samplers.unipc import UniPC
    from inkwash.trained_run import Run

__version__ = "0.1.0"
__all__ = [
    "DDIM", "Ancestral", "BetaSchedule", "CosineSchedule", "DPMSolverPP2M", "DPMSolverPP3M", "Denoiser",
    "DiffusionLoss", "EDMSchedule", "FlowSchedule", "Heun", "Karras", "Leading", "Linspace", "LogSNR", "Run",
    "Shifted", "Trailing", "UNet", "UniPC", "VPSchedule", "compose", "fit", "load_run",
]  # fmt: skip

# `python -m inkwash.train` and the like, the commands' older names.
__path__.append(str(Path(__file__).parent / "aliases"))

_MODULES = {
    "config.cli": ("compose",),
    "denoiser": ("Denoiser",),
    "fitting": ("fit",),
    "losses.simple": ("DiffusionLoss",),
    "nets.unet": ("UNet",),
    "process.schedules": ("BetaSchedule", "CosineSchedule", "EDMSchedule", "FlowSchedule", "VPSchedule"),
    "process.spacing": ("Karras", "Leading", "Linspace", "LogSNR", "Shifted", "Trailing"),
    "run": ("load_run",),
    "samplers.ancestral": ("Ancestral",),
    "samplers.ddim": ("DDIM",),
    "samplers.dpm_solver": ("DPMSolverPP2M", "DPMSolverPP3M"),
    "samplers.heun": ("Heun",),
    "samplers.unipc": ("UniPC",),
    "trained_run": ("Run",),
}
_LAZY = {name: f"inkwash.{module}" for module, names in _MODULES.items() for name in names}


def __dir__() -> list[str]:
    """List the lazy names too, for completion in a notebook."""
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds."""
    import difflib
    import importlib

    if name not in _LAZY:
        alike = {known.lower(): known for known in _LAZY}
        near = difflib.get_close_matches(name.lower(), alike, 1) if not name.startswith("_") else []
        hint = f"; did you mean {alike[near[0]]}?" if near else ""
        raise AttributeError(f"module 'inkwash' has no attribute {name!r}{hint}")

    return getattr(importlib.import_module(_LAZY[name]), name)
