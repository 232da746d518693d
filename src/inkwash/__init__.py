"""Inkwash: train image diffusion models as experiments (PyTorch Lightning, Hydra, Weights & Biases)."""

import os
import signal
import sys

__version__ = "0.1.0"


def _is_the_program() -> bool:
    """Whether a command of ours is being started, as a module or by its name, and not somebody's own program."""
    if sys.argv[:1] == ["-m"]:  # which it is as long as Python looks for the module
        return any(argument.startswith("inkwash.") for argument in sys.orig_argv)
    return os.path.basename("".join(sys.argv[:1])).startswith("inkwash-")


# Ctrl-C ends a command while it still imports: Python's own handler would tell where that was, or now and then lose it
# in a callback of the import system. Whoever has the signal ignored, as shells do in the background, still has.
if _is_the_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
