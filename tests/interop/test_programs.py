"""Files for programs without Inkwash: read in a process that cannot import it, they give what we give, to 1e-5."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.guidance_scale import guided
from inkwash.interop.output import Options
from inkwash.interop.programs import export_onnx, export_torch
from inkwash.run import load_run
from inkwash.samplers.base import ImageNoise
from support.commands import inkwash
from support.samplers import Stubborn

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
WRITERS = {"onnx": export_onnx, "torch_export": export_torch}
# Reads both files, gives them inputs.npz, writes outputs.npz.
WITH_ONNX = """
import numpy as np, onnxruntime
given = np.load("inputs.npz")
found = {}
for name in ("network", "sampler"):
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    inputs = {i.name: given[f"{name}_{i.name}"] for i in session.get_inputs()}
    found[name] = session.run(None, inputs)[0]
np.savez("outputs.npz", **found)
"""
WITH_TORCH = """
import numpy as np, torch
given = np.load("inputs.npz")
found = {}
for name in ("network", "sampler"):
    module = torch.export.load(f"{name}.pt2").module()
    inputs = {key.partition("_")[2]: torch.from_numpy(given[key]) for key in given if key.startswith(name)}
    found[name] = module(**inputs).numpy()
np.savez("outputs.npz", **found)
"""
READERS = {"onnx": (WITH_ONNX, ("inkwash", "torch")), "torch_export": (WITH_TORCH, ("inkwash",))}


def elsewhere(folder, code, blocked):
    """Run Python in a folder, in a process in which these packages cannot be imported."""
    block = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    done = subprocess.run(
        [sys.executable, "-I", "-c", block + code], cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


def examples(folder):
    """The blocks of Python in a card."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def export(format, directory, out, sampler, guidance=None, **more):
    return WRITERS[format](directory, out, options=Options(sampler=sampler, guidance=guidance, **more))


def check(format, directory, out, sampler, guidance, sizes=(1, 5)):
    """Export, compare network and sampler for several numbers of images; the card's example is run, and returned."""
    run = load_run(directory)
    export(format, directory, out, run.config["sampler"] if sampler is None else sampler, guidance)
    (example,) = examples(out)
    sampler, scale = build(sampler or run.config["sampler"]), run.scale(guidance)
    steps = len(sampler.spacing(run.denoiser.schedule)) - 1
    for n in sizes:
        labels = None if run.num_classes is None else torch.arange(n) - 1
        noise = ImageNoise(1, range(n), run.shape)
        x, time, draws = noise(), torch.linspace(5, 900, n), [noise() for _ in range(steps + 1)]
        given = {"network_x": x, "network_time": time, "sampler_noise": draws[0]}
        if labels is not None:
            given |= {"network_y": labels, "sampler_labels": labels}
        if "noises" in (out / "README.md").read_text().partition("## Data")[0]:
            given["sampler_noises"] = torch.stack(draws[1:steps])  # none in the last step
        np.savez(out / "inputs.npz", **{name: value.numpy() for name, value in given.items()})
        code, blocked = READERS[format]
        elsewhere(out, f"{code}{example}\nassert pixels.shape == (4, {', '.join(map(str, run.shape))})", blocked)
        found, remaining = np.load(out / "outputs.npz"), iter(draws)
        with torch.no_grad():
            network = run.denoiser.net(x, time, labels)
            images = sampler(guided(run.denoiser, scale), lambda: next(remaining), labels)  # noqa: B023
        torch.testing.assert_close(torch.from_numpy(found["network"]), network, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(found["sampler"]), images, rtol=1e-5, atol=1e-5)
    return example


def node(name, steps):
    """The configuration of a sampler."""
    config = {"ddim": {"_target_": "inkwash.samplers.ddim.DDIM", "eta": 0.0},
              "ancestral": {"_target_": "inkwash.samplers.ancestral.Ancestral",
                            "variance": {"_target_": "inkwash.process.variances.FixedLarge"}}}[name]  # fmt: skip
    return {**config, "spacing": {"_target_": "inkwash.process.spacing.Trailing", "steps": steps}, "clip": 1.0}


def precisions(path):
    """The types of all values in an ONNX file, those in the bodies of loops too."""
    found = set()

    def look(graph):
        found.update(value.data_type for value in graph.initializer)
        values = [*graph.value_info, *graph.input, *graph.output]
        found.update(value.type.tensor_type.elem_type for value in values)
        for step in graph.node:
            for attribute in step.attribute:
                if attribute.HasField("g"):
                    look(attribute.g)
                if attribute.HasField("t"):
                    found.add(attribute.t.data_type)
                if attribute.name == "to":
                    found.add(attribute.i)

    look(onnx.load(path).graph)
    return {onnx.TensorProto.DataType.Name(kind) for kind in found}


@pytest.mark.slow
@pytest.mark.parametrize("format", WRITERS)
def test_files_give_what_we_give(format, untrained, tmp_path):
    """By class, guided, with fresh noise: all the inputs there are. The card's example runs; nothing is float64."""
    directory, out = untrained("model.channels=8", "model.channel_mult=[1]"), tmp_path / "out"
    example = check(format, directory, out, node("ancestral", 3), 1.5, sizes=(3,))
    assert len([line for line in example.splitlines() if line]) <= 10
    if format == "onnx":
        for name in ("network", "sampler"):
            assert precisions(out / f"{name}.onnx").isdisjoint({"DOUBLE", "FLOAT16", "BFLOAT16"})
            assert str(Path.cwd()).encode() not in (out / f"{name}.onnx").read_bytes()  # no lines of our source
        metadata = {p.key: p.value for p in onnx.load(out / "sampler.onnx").metadata_props}
        assert metadata["labels"] == "int64 (n): class, 0 to 9, -1 for no label"
        assert (metadata["steps"], metadata["guidance"], metadata["sampler"]) == ("3", "1.5", "Ancestral")
        assert metadata["noises"].startswith("float32 (2, n, 1, 8, 8): standard normal")


PATHS = {
    "edm, heun": ("schedule=edm", "prediction=edm", "weighting=edm", "sampler=heun", "spacing=karras"),
    "flow, unipc": ("schedule=flow", "prediction=flow", "sampler=unipc"),
    "own conditions": ("sampler=dpmpp_2m", "model.num_classes=null", "model.patch_size=2"),
    # From the last time on, where alpha is 0.006, x_0 has 160 times the rounding of eps.
    "eps": ("schedule=linear", "prediction=eps", "sampler=ddim", "spacing=leading"),
}


@pytest.mark.slow
@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("overrides", PATHS.values(), ids=PATHS)
def test_other_paths_and_samplers(format, overrides, untrained, tmp_path):
    directory = untrained("model.channels=16", *overrides, "spacing.steps=6")
    check(format, directory, tmp_path / "out", None, None)


@pytest.mark.slow
@pytest.mark.parametrize("format", WRITERS)
def test_a_fixed_number_of_images(format, untrained, tmp_path):
    directory, out = untrained("model.channels=8", "model.num_classes=null"), tmp_path / "out"
    export(format, directory, out, node("ddim", 2), batch=1)
    assert "float32 (1, 1, 8, 8)" in (out / "README.md").read_text()
    elsewhere(out, *examples(out), READERS[format][1])
    if format == "onnx":
        (value,) = onnx.load(out / "sampler.onnx").graph.input
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, 1, 8, 8]


def test_what_no_file_can_hold_is_refused_by_name(untrained, tmp_path, monkeypatch):
    directory = untrained("model.channels=8", "model.num_classes=null")
    monkeypatch.setattr("inkwash.interop.programs.build", lambda node: Stubborn(build(node["spacing"]), clip=None))
    with pytest.raises(UserError, match="sampler: Stubborn cannot be written to a file, .* another, sampler=ddim"):
        export("torch_export", directory, tmp_path / "out", node("ddim", 3))
    monkeypatch.undo()
    with pytest.raises(UserError, match="batch=0 must be at least 1"):
        export("torch_export", directory, tmp_path / "out", node("ddim", 3), batch=0)
    with pytest.raises(UserError, match="guidance needs class labels"):
        export("torch_export", directory, tmp_path / "out", node("ddim", 3), guidance=2.0)
    told = untrained(
        "experiment=meanflow_digits", "model.width=16", "model.depth=2", "model.num_classes=null", name="told"
    )
    with pytest.raises(UserError, match=r"model.two_times=true: .* these files have no place: use format=safetensors"):
        export("torch_export", told, tmp_path / "out", node("ddim", 3))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"format=onnx needs the package onnxscript: pip install 'inkwash\[onnx\]'"):
        export("onnx", directory, tmp_path / "out", node("ddim", 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "told"]


@pytest.mark.slow
def test_the_command_chooses_the_sampler_as_sample_does(untrained, tmp_path):
    untrained("model.channels=8", name="runs/a")
    line = ("run=a", "format=torch_export", "sampler=heun", "spacing=karras", "spacing.steps=3", "guidance=1")
    done = inkwash("export", *line, "out=out", "license=mit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| sampler | Heun |" in card
    assert card.startswith("---\nlicense: mit\nlibrary_name: pytorch\n")
    record = json.loads((tmp_path / "out" / "inkwash.json").read_text())
    assert (record["format"], record["sampler"]["spacing"]["steps"]) == ("torch_export", 3)
