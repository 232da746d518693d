"""Import Lightning and W&B in a third of the time: without what they import and hardly any job uses.

`import lightning` runs torchmetrics' __init__ for two classes, and with it imports torchvision, scipy.signal and
matplotlib, which takes longer than the rest of Lightning. It imports torch's compiler, and with that sympy, to know a
compiled module when it sees one; each optimizer asks the compiler to keep out of its way. Every W&B run asks W&B
Launch, whose import takes two seconds, for inputs that only a program which has imported it can have given. `defer` has
those names found without their modules; whatever else is asked of them, by this program or by another's metric, runs
them as Python would have.

torch's counter of operations, which Lightning imports too, imports Triton with 70 MiB of its compiler, to know a kernel
of Triton when it sees one. It runs beside a stand-in that knows them without (`STAND_INS`).
"""

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

Names = Mapping[str, Callable[[], Any]]
PLOTS = "torchmetrics.utilities.plot"


class Deferred(ModuleType):
    """A module that runs when a name is asked for that is not among `quick`: how each of those is had without it.

    Attributes:
        first: whether it runs before any module inside it is imported, as Python has it.
    """

    quick: Names
    waiting: bool
    first: bool

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
            with _standing_in(STAND_INS.get(self.__name__, {})):
                self.__spec__.loader.exec_module(self)
            package, _, name = self.__name__.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], name, self)


@contextmanager
def _standing_in(modules: Mapping[str, Names]) -> Iterator[None]:
    """Have modules that have not been imported consist of some names meanwhile; then they can be imported as ever."""
    made = {name: ModuleType(name) for name in modules if name not in sys.modules}
    for name, module in made.items():
        vars(module).update({key: get() for key, get in modules[name].items()})
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)


def defer() -> None:
    """Defer the modules of `DEFERRED`, except those of packages that have been imported."""
    for package, modules in DEFERRED.items():
        spec = None if package in sys.modules else find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for name, quick in modules.items():
            file = Path(spec.origin).parent.joinpath(*name.split(".")[1:])
            file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
            inside = spec if name == package else spec_from_file_location(name, file)
            if inside is not None and Path(str(inside.origin)).exists():  # another version may not have it
                module = module_from_spec(inside)
                module.__class__ = Deferred
                vars(module).update(quick=quick, waiting=True, first=name == COMPILER)
                sys.modules[name] = module
    if not any(isinstance(finder, RunFirst) for finder in sys.meta_path):
        sys.meta_path.insert(0, RunFirst())


class RunFirst(MetaPathFinder):
    """Runs a deferred package before a module inside it is imported, if it must be `first`."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        package = sys.modules.get(fullname.rpartition(".")[0])
        if not (isinstance(package, Deferred) and package.waiting and package.first):
            return None
        package.run()  # which may import the module
        return spec_from_loader(fullname, There(sys.modules[fullname])) if fullname in sys.modules else None


class There(Loader):
    """Loads a module that has been imported meanwhile: leaves it as it is."""

    def __init__(self, module: ModuleType):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


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


class _Compiled(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        compiler: Any = sys.modules[COMPILER]
        return not compiler.waiting and isinstance(instance, compiler.OptimizedModule)


class _OptimizedModule(metaclass=_Compiled):
    """A module that torch.compile has wrapped, which none is before the compiler has been imported."""


def _disable(function: Callable[..., Any] | None = None, *args: Any, **options: Any) -> Any:
    """Return a function that the compiler leaves alone, once it has been imported."""
    if function is None:
        return functools.partial(_disable, *args, **options)
    compiler: Any = sys.modules[COMPILER]
    found: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*inputs: Any, **more: Any) -> Any:
        if compiler.waiting:
            return function(*inputs, **more)
        if not found:
            found.append(compiler.disable(function, *args, **options))
        return found[0](*inputs, **more)

    return call


class _IsKernel(type):
    """Tell a kernel of Triton, once that has been imported, by isinstance."""

    def __instancecheck__(cls, instance: Any) -> bool:
        known = getattr(sys.modules.get(KERNELS), "JITFunction", _JITFunction)
        return known is not _JITFunction and isinstance(instance, known)


class _JITFunction(metaclass=_IsKernel):
    """A kernel of Triton, which nothing is before Triton has been imported."""


COMPILER, COUNTER, KERNELS = "torch._dynamo", "torch.utils.flop_counter", "triton.runtime.jit"
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
    "torch": {
        COMPILER: {
            "OptimizedModule": lambda: _OptimizedModule,
            "disable": lambda: _disable,
            "graph_break": lambda: lambda *args, **options: None,
        },
        COUNTER: {},
    },
    "wandb": {"wandb.sdk.launch.inputs.internal": {"StagedLaunchInputs": lambda: _NothingStaged}},
}
# Of a deferred module: modules that it finds in place of others while it runs, unless these have been imported.
STAND_INS: dict[str, dict[str, Names]] = {COUNTER: {KERNELS: {"JITFunction": lambda: _JITFunction}}}
