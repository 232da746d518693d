"""Import Lightning and W&B in half the time: without what they import and hardly any job uses.

`import lightning` runs torchmetrics' __init__ for two classes, and with it imports torchvision, scipy.signal and
matplotlib, which takes longer than the rest of Lightning. Every W&B run asks W&B Launch, whose import takes two
seconds, for inputs that only a program which has imported it can have given. `defer` has those names found without
their modules; whatever else is asked of them, by this program or by another's metric, runs them as Python would have.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

Names = Mapping[str, Callable[[], Any]]
PLOTS = "torchmetrics.utilities.plot"


class Deferred(ModuleType):
    """A module that runs when a name is asked for that is not among `quick`: how each of those is had without it."""

    quick: Names
    waiting: bool

    def __getattr__(self, name: str) -> Any:
        if self.waiting and name in self.quick:
            return self.quick[name]()
        if self.waiting and not name.startswith("__"):
            self.run()
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def run(self) -> None:
        """Do what importing the module would have done."""
        if self.waiting and self.__spec__ is not None and self.__spec__.loader is not None:
            self.waiting = False
            self.__spec__.loader.exec_module(self)


def defer() -> None:
    """Defer the modules of `DEFERRED`, except those of packages that have been imported."""
    for package, modules in DEFERRED.items():
        spec = None if package in sys.modules else find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for name, quick in modules.items():
            file = Path(spec.origin).parent.joinpath(*name.split(".")[1:])
            inside = spec if name == package else spec_from_file_location(name, file.with_suffix(".py"))
            if inside is not None and Path(str(inside.origin)).exists():  # another version may not have it
                module = module_from_spec(inside)
                module.__class__ = Deferred
                vars(module).update(quick=quick, waiting=True)
                sys.modules[name] = module


def _from(module: str, name: str) -> Callable[[], Any]:
    """Return what imports a name from a module; torchmetrics.utilities goes first, as it does in its __init__."""

    def get() -> Any:
        import_module("torchmetrics.utilities")
        return getattr(import_module(module), name)

    return get


def _plot(*args: Any, **kwargs: Any) -> Any:
    """Plot a metric's values as torchmetrics' own function of this name does, which is imported here."""
    plots: Any = sys.modules[PLOTS]
    plots.run()
    return plots.plot_single_or_multi_val(*args, **kwargs)


class _NothingStaged:
    """W&B Launch's inputs of a program that has not imported it."""

    def apply(self, run: Any) -> None:
        """Change nothing of a run."""


DEFERRED: dict[str, dict[str, Names]] = {
    "torchmetrics": {
        "torchmetrics": {
            "__version__": lambda: import_module("torchmetrics.__about__").__version__,
            "_logger": lambda: logging.getLogger("torchmetrics"),
            "Metric": _from("torchmetrics.metric", "Metric"),
            "MetricCollection": _from("torchmetrics.collections", "MetricCollection"),
        },
        PLOTS: {
            "_AX_TYPE": lambda: object,  # types of arguments, as torchmetrics has them where there is no matplotlib
            "_PLOT_OUT_TYPE": lambda: object,
            "plot_single_or_multi_val": lambda: _plot,
        },
    },
    "wandb": {"wandb.sdk.launch.inputs.internal": {"StagedLaunchInputs": lambda: _NothingStaged}},
}
