"""inkwash in a notebook: a quick import without side effects, and the few names that one needs."""

import doctest
import inspect
import subprocess
import sys

import hydra
import nbformat
import pytest
import torch
from nbclient import NotebookClient
from omegaconf import OmegaConf

import inkwash
from inkwash.config.paths import config_dir
from inkwash.process.spacing import Trailing
from inkwash.samplers.ddim import DDIM
from support.runs import ROOT, environment

NAMES = inkwash.__all__


def fresh(code, cwd):
    """Run code in a new process; return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_import_is_quick_and_changes_nothing(tmp_path):
    code = """
import os, signal, sys
state = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], dict(os.environ)
import inkwash
heavy = {"torch", "hydra", "omegaconf", "lightning", "wandb", "numpy", "matplotlib"} & {*sys.modules}
assert not heavy, heavy
assert state == ([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], dict(os.environ))
assert {"Run", "compose", "load_run"} <= {*dir(inkwash)}
assert "torch" not in sys.modules
"""
    assert fresh(code, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_hydra_composes_after_the_import_alone(tmp_path):
    """The schema and the resolvers are found by Hydra itself, as its plugins are."""
    code = """
import hydra, inkwash, sys
from inkwash.config.paths import config_dir
with hydra.initialize_config_dir(config_dir(), version_base="1.3"):
    config = hydra.compose("train", ["model.channels=8", "schedule=linear"])
assert "torch" not in sys.modules
print(config.model.channels, config.model.shape, config.schedule.betas.T)
"""
    assert fresh(code, tmp_path) == "8 [1, 8, 8] 1000"


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_there_and_documented(name):
    value = getattr(inkwash, name)
    assert name in inkwash.__all__
    assert name in dir(inkwash)
    assert name in inkwash.__doc__
    assert len(inspect.getdoc(value).splitlines()[0]) > 20
    assert value.__module__.startswith("inkwash.")


@pytest.mark.slow
def test_examples_of_public_names_run(fit_run, tmp_path, monkeypatch):
    fit_run("runs/latest", "~callbacks.evaluation")
    monkeypatch.chdir(tmp_path)
    documents = [inspect.getdoc(getattr(inkwash, name)) for name in NAMES]
    documents += [inspect.getdoc(value) for value in vars(inkwash.Run).values() if inspect.isfunction(value)]
    examples = [doctest.DocTestParser().get_examples(text) for text in documents if text]
    assert sum(map(len, examples)) >= 8
    for lines in examples:
        names = {"inkwash": inkwash, "torch": torch}
        if lines and "run" not in lines[0].source.partition("=")[0]:
            names["run"] = inkwash.load_run("latest")
        for line in lines:
            exec(line.source, names)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'inkwash' has no attribute 'nope'"):
        _ = inkwash.nope


def test_compose_is_the_command_lines_configuration(compose_config):

    config = inkwash.compose("schedule=linear", "model.channels=8", "run=x")
    assert OmegaConf.to_container(config, resolve=True) == compose_config(
        "schedule=linear", "model.channels=8", "run=x"
    )
    assert inkwash.compose("run=x", config_name="sample").task._target_ == "inkwash.editing.tasks.Generate"


def test_compose_within_an_initialised_hydra():
    with hydra.initialize_config_dir(config_dir(), version_base="1.3"):
        assert inkwash.compose("seed=3").seed == 3
        assert hydra.compose("train", ["seed=4"]).seed == 4


def test_load_run_gives_images(fit_run):
    directory, _, _ = fit_run("run", "~callbacks.evaluation")
    run = inkwash.load_run(directory)
    assert isinstance(run, inkwash.Run)
    assert run.config["seed"] == 0
    assert run.sample(3, sampler=DDIM(Trailing(2))).shape == (3, 1, 8, 8)


def test_instantiate_makes_a_network_of_a_node():
    """Without `_convert_`: constructors take OmegaConf's lists."""
    config = inkwash.compose("model.channels=8")
    network = hydra.utils.instantiate(config.model)
    assert type(network).__name__ == "UNet"
    assert sum(p.numel() for p in network.parameters()) > 0


@pytest.mark.slow
def test_the_tour_runs_and_is_stored_without_outputs(fit_run, tmp_path):
    notebook = nbformat.read(ROOT / "experiments" / "tour.ipynb", 4)
    assert [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
    fit_run("runs/latest", "~callbacks.evaluation")
    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    with client.setup_kernel(env=environment(OMP_NUM_THREADS="1")):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) > 10
    assert "".join(output.get("text", "") for output in outputs).count("evaluations") == 2
