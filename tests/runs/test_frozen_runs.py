"""Runs of an older Inkwash, whose modules had other names: what is made of them today is what was made of them then.

tests/golden/runs holds three run directories as `python -m inkwash.train` left them (the command lines stand in their
run.json), without what neither sampling nor a resume reads: `default` is the default recipe, `hybrid` learns the
variance, the times and a further average, `edm` is in continuous time; their networks are tiny. golden.json beside them
says what the Inkwash of their day drew, measured, exported and trained from copies of them.
"""

import base64
import csv
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
NAMES = ("default", "hybrid", "edm")
# The runs of each command's quick tests; the others are slow ones.
QUICK = {"sample": ("edm",), "evaluate": (), "export": (), "train": ()}
STEP, MORE = 6, 10  # where they stand, and until where they are trained here
ON_ONE_CORE = ("trainer.accelerator=cpu", "trainer.threads=1")
SAMPLER = {"default": "ddim", "hybrid": "ancestral", "edm": "heun"}
LIKELIHOOD = {"hybrid": "bound"}  # quick for its chain of 25 steps
EXTRACTED = "fd_classifier_16"


def machine() -> dict[str, str]:
    """Return what the last bits depend on: the processor chooses kernels, and with them the order of sums."""
    fields = ("vendor_id", "cpu family", "model", "model name")
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = [re.search(rf"^{field}\s*: (.*)$", text, re.MULTILINE) for field in fields]
    return {
        "torch": torch.__version__,
        "processor": ", ".join(match[1] for match in found if match),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads((GOLDEN / "golden.json").read_text())


@pytest.fixture(scope="module")
def same_machine(golden) -> bool:
    """Tell whether every bit must agree."""
    return machine() == golden["machine"]


def runs_for(command: str):
    """Give a test every run, by its name."""
    slow = pytest.mark.slow
    return pytest.mark.parametrize("name", [n if n in QUICK[command] else pytest.param(n, marks=slow) for n in NAMES])


@pytest.fixture
def place(name, tmp_path, data_dir) -> Path:
    """A folder to work in, with a copy of the run."""
    return prepare(tmp_path, name, data_dir)


def prepare(place: Path, name: str, data: Path) -> Path:
    """Copy a run to place/runs, with the cache where its configuration has it."""
    shutil.copytree(GOLDEN / name, place / "runs" / name)
    (place / "data").symlink_to(data, target_is_directory=True)
    return place


def inkwash(command: str, *arguments: str, cwd: Path) -> None:
    """Run python -m inkwash.COMMAND in cwd."""
    variables = {key: value for key, value in os.environ.items() if key != "INKWASH_DATA"}  # data/, as it was then
    result = subprocess.run(
        [sys.executable, "-m", f"inkwash.{command}", *arguments],
        cwd=cwd, env={**variables, "WANDB_MODE": "offline"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def overrides(name: str) -> list[str]:
    """Return the overrides that the run was started with."""
    typed = json.loads((GOLDEN / name / "run.json").read_text())["overrides"]
    return [override.replace("callbacks.fid", "callbacks.evaluation") for override in typed]


# --- Results of a run as JSON holds them; golden.json was made by these functions -------------------------------------


def draw(place: Path, name: str) -> list[str]:
    """Draw 8 images, in base64."""
    options = (f"run={name}", "num_images=8", f"sampler={SAMPLER[name]}", "spacing.steps=4", "seed=0", "out=drawn")
    inkwash("sample", *options, *ON_ONE_CORE, cwd=place)
    files = sorted((place / "drawn" / "images").glob("*.png"))
    return [base64.b64encode(np.array(Image.open(file)).tobytes()).decode() for file in files]


def measure(place: Path, name: str) -> dict:
    """Measure 16 images that the run's own sampler draws, and held-out images' bits where that is quick."""
    likelihood = [f"likelihood={LIKELIHOOD[name]}"] if name in LIKELIHOOD else []
    # The batch size is the default of then: the last digits of a likelihood depend on it.
    options = (f"run={name}", "num_images=16", "metrics=[fid,memorised_pixels]", "batch_size=256", "out=measured")
    inkwash("evaluate", *options, *likelihood, "trainer.devices=1", *ON_ONE_CORE, cwd=place)
    (cell,) = json.loads((place / "measured" / "table.json").read_text())
    record = cell["records"][EXTRACTED]
    return {
        "metrics": cell["metrics"],
        **{key: cell[key] for key in ("sampler", "steps", "step")},
        **{key: record[key] for key in ("extractor_hash", "n_real")},
    }


def export(place: Path, name: str) -> dict:
    """Write the weights to a file, of which the bits of the tensors are looked at."""
    inkwash("export", f"run={name}", "out=exported.safetensors", "format=safetensors", cwd=place)
    with safe_open(place / "exported.safetensors", "pt") as file:
        about = file.metadata()
    tensors = load_file(place / "exported.safetensors")
    bits = {key: found[0] for key, found in digests(tensors).items()}
    return {"tensors": bits, **{key: about[key] for key in ("format", "weights", "step")}}


def train_on(place: Path, name: str, command: list[str]) -> dict:
    """Train until step MORE with the command: the final state, and what was logged."""
    inkwash("train", *command, f"trainer.max_steps={MORE}", cwd=place)
    directory = place / "runs" / name
    stored = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    log = [line.partition(" ")[2].partition(" ")[2] for line in (directory / "train.log").read_text().splitlines()]
    states = stored["optimizer_states"][0]["state"].items()
    moments = [(i, {key: found[0] for key, found in digests(state).items()}) for i, state in states]
    return {
        "step": stored["global_step"],
        "state": digests(stored["state_dict"]),
        "optimizer": hashlib.sha256(json.dumps(moments).encode()).hexdigest()[:16],
        "losses": {row["step"]: float(row["train/loss"]) for row in rows(directory) if row["train/loss"]},
        "log": [line for line in log if line.startswith(("resuming", "changed"))],
    }


def digests(tensors: dict[str, torch.Tensor]) -> dict[str, list]:
    """For each tensor a hash of its bits, and its norm and two values for where bits may differ."""
    return {
        name: [
            hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes()).hexdigest()[:16],
            *(float(f"{number:.8g}") for number in (value.double().norm(), value.flatten()[0], value.flatten()[-1])),
        ]
        for name, value in sorted(tensors.items())
    }


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


# --- Comparison with the results of the older version -----------------------------------------------------------------


def assert_same_tensors(found: dict[str, list], expected: dict[str, list], exact: bool, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    if exact:
        assert [key for key in expected if found[key][0] != expected[key][0]] == []
    for key, (_, *values) in expected.items():
        assert found[key][1:] == pytest.approx(values, rel=tolerance, abs=tolerance), key


@runs_for("sample")
def test_an_old_run_is_sampled(name, place, golden, same_machine):
    images = draw(place, name)
    expected = golden["runs"][name]["images"]
    if same_machine:
        assert images == expected
    found, expected = (
        np.array([list(base64.b64decode(image)) for image in group], dtype=np.int16) for group in (images, expected)
    )
    assert found.shape == expected.shape == (8, 64)
    assert np.abs(found - expected).max() <= 1
    assert len({*images}) == 8


@runs_for("evaluate")
def test_an_old_run_is_measured(name, place, golden, same_machine):
    found, expected = measure(place, name), golden["runs"][name]["measured"]
    if same_machine:
        assert found == expected
    assert found["metrics"].keys() == expected["metrics"].keys()
    assert {**found, "metrics": 0, "extractor_hash": 0} == {**expected, "metrics": 0, "extractor_hash": 0}
    for key, value in expected["metrics"].items():
        if key == EXTRACTED and found["extractor_hash"] != expected["extractor_hash"]:
            # On another processor the training of the extractor ends with another classifier.
            assert 0 < found["metrics"][key] < math.inf
        else:
            assert found["metrics"][key] == pytest.approx(value, rel=1e-2), key


@runs_for("export")
def test_an_old_run_is_exported(name, place, golden):
    found, expected = export(place, name), golden["runs"][name]["exported"]
    assert found == expected  # on any machine: nothing is computed


@runs_for("train")
def test_an_old_run_goes_on(name, place, golden, same_machine):
    """By the command that started it, with some more steps."""
    found = train_on(place, name, overrides(name))
    assert_went_on(place / "runs" / name, name, found, golden, same_machine)


@pytest.mark.slow
def test_an_old_configuration_goes_on(tmp_path, data_dir, golden, same_machine):
    """By its own config.yaml, which has nothing but old names in it."""
    place = prepare(tmp_path, "edm", data_dir)
    command = ["--config-dir", "runs/edm", "--config-name", "config", "run=edm", f"learning_rate.total_steps={MORE}"]
    found = train_on(place, "edm", command)
    assert_went_on(place / "runs" / "edm", "edm", found, golden, same_machine)


def assert_went_on(directory: Path, name: str, found: dict, golden: dict, same_machine: bool) -> None:
    expected = golden["runs"][name]["went_on"]
    # From where it stood, and with nothing changed but what was asked for: other names of modules are no change.
    assert found["log"] == expected["log"]
    assert found["log"][-1] == f"resuming     from step {STEP}, runs/{name}/checkpoints/last.ckpt"
    assert found["step"] == expected["step"] == MORE
    old, new = rows(GOLDEN / name), rows(directory)
    assert [int(row["step"]) for row in new] == list(range(MORE + 1))
    # What was logged before, with the images a second of then, is as it was: those steps were not made again. Row 0 is
    # written anew: the metrics measure real images whenever a training starts.
    assert [{key: row[key] for key in old[0]} for row in new[1 : STEP + 1]] == old[1:]
    if same_machine:
        assert found == expected
    # On another processor, sums of another order give other last bits. Adam divides by the size of the gradient: where
    # that is nothing but rounding, steps as large as the learning rate may go either way.
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-3)
    assert_same_tensors(found["state"], expected["state"], same_machine, 1e-5)
