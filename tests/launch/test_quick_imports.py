"""Lightning and the digits come without heavy modules, and nothing of torchmetrics or of torch's compiler is lost."""

import json
import subprocess
import sys

import pytest
import torchmetrics

CODE = """
import json, sys
from inkwash.launch import quick_imports

quick_imports.defer()
import lightning
import torchmetrics

HEAVY = ("torchvision", "scipy.signal", "matplotlib", "sklearn", "triton", "pyarrow")
found = {"first": [name for name in HEAVY if name in sys.modules]}
from inkwash.data.digits import Digits

Digits().load("train", (1, 8, 8))
found["version"] = torchmetrics.__version__
metric = lightning.pytorch.core.module.Metric
found["late"] = [name for name in HEAVY if name in sys.modules]

import colorsys
from importlib.util import find_spec

import torch
from torch.utils.flop_counter import register_flop_formula

known = torch.utils.flop_counter.flop_registry
kernel = torch.ops.aten.relu
if find_spec("triton"):
    import triton

    kernel = triton.jit(colorsys.rgb_to_yiq)  # any function that has its source in a file
try:
    register_flop_formula(colorsys.rgb_to_yiq)(len)
except ValueError:
    found["counted"] = register_flop_formula(kernel, get_raw=True)(len) is known[kernel] is len

import matplotlib

matplotlib.use("Agg")
mean = torchmetrics.MeanMetric()
mean.update(3.0)
found["points"] = [line.get_ydata().tolist() for line in mean.plot()[1].lines]
from torchmetrics.image import FrechetInceptionDistance

found["same"] = metric is torchmetrics.Metric and issubclass(FrechetInceptionDistance, metric)
found["names"] = [name for name in torchmetrics.__all__ if hasattr(torchmetrics, name)]
found["unknown"] = hasattr(torchmetrics, "Nothing")
quick_imports.defer()
found["again"] = sys.modules["torchmetrics"] is torchmetrics
print(json.dumps(found))
"""


COMPILER = """
import json, sys
from inkwash.launch import quick_imports

quick_imports.defer()
import torch
import inkwash.jobs.train
from inkwash.nets.unet import UNet
from lightning.fabric.wrappers import OptimizedModule

net = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(net.parameters())
net(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
kept = torch.compiler.disable(lambda x: torch._dynamo.is_compiling())
found = {"kept before": kept.__name__ == "<lambda>", "compiled before": isinstance(net, OptimizedModule)}
found["loaded before"] = [name for name in ("sympy", "torch._dynamo.utils", "torch._inductor") if name in sys.modules]

import torch._dynamo.config as config

found["one module"] = config is torch._dynamo.config and config is sys.modules["torch._dynamo.config"]
found["its spec"] = config.__spec__.loader is config.__loader__

@torch.compile(backend="eager", fullgraph=False)
def function(x):
    return x + 1, kept(x), torch.compiler.is_compiling()

_, inside, compiling = function(torch.ones(2))
found["kept"], found["compiling"] = not inside, compiling
compiled = torch.compile(net, backend="eager")
found["compiled"] = isinstance(compiled, OptimizedModule), isinstance(net, OptimizedModule)
found["same"] = torch.equal(compiled(torch.ones(1, 2)), net(torch.ones(1, 2)))
print(json.dumps(found))
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found():
    return run(CODE)


@pytest.mark.slow
def test_the_compiler_is_imported_by_what_compiles():
    """Not by a step of training; and then it is whole, one module, and leaves alone what it was told to before."""
    assert run(COMPILER) == {
        "kept before": True, "compiled before": False, "loaded before": [], "one module": True, "its spec": True,
        "kept": True, "compiling": True, "compiled": [True, False], "same": True,
    }  # fmt: skip


@pytest.mark.slow
def test_lightning_is_imported_without_what_only_other_metrics_need(found):
    assert found["first"] == found["late"] == []


def test_torchmetrics_is_whole_once_it_is_asked_for_more(found):
    assert found["names"] == torchmetrics.__all__
    assert found["version"] == torchmetrics.__version__
    assert found["same"]
    assert not found["unknown"]


def test_a_metric_can_be_plotted(found):
    assert found["points"] == [[3.0]]


def test_kernels_of_triton_can_be_counted_once_it_is_imported(found):
    assert found["counted"]


def test_what_has_been_imported_is_left_alone(found):
    assert found["again"]
