"""`inkwash new NAME` writes a project that works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from inkwash.commands.new import TEMPLATE, main, new
from inkwash.errors import UserError
from support.runs import ROOT


@pytest.fixture
def project(tmp_path):
    new(tmp_path / "atelier")
    return tmp_path / "atelier"


def test_every_file_is_there_under_the_new_name(project):
    names = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    kinds = {f"conf/{group}" for group in ("model", "schedule", "data", "metrics", "callbacks", "experiment")}
    assert kinds <= {str(Path(name).parent) for name in names}
    assert {
        "Makefile",
        "README.md",
        ".gitignore",
        "pytest.ini",
        "conftest.py",
        "conf/inkwash.yaml",
        "atelier/network.py",
    } <= names
    assert not any("studio" in name for name in names)
    assert not any(re.search(r"\bstudio\b", (project / name).read_text()) for name in names)


def test_its_yamls_name_its_classes(project):
    said = yaml.safe_load((project / "conf" / "inkwash.yaml").read_text())
    assert said == {"trust": ["atelier"], "path": ".."}
    targets = {
        target
        for path in project.glob("conf/*/*.yaml")
        for target in re.findall(r"_target_: (atelier[\w.]*)", path.read_text())
    }
    assert len(targets) == 5
    for module, _, name in (target.rpartition(".") for target in targets):
        assert f"class {name}(" in (text := (project / f"{module.replace('.', '/')}.py").read_text()) or (
            f"class {name}:" in text
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-project", "my-project cannot be the name of a Python package.*; did you mean my_project?"),
        ("1st", "1st cannot be the name of a Python package.*; did you mean st?"),
        ("class", "class cannot be the name of a Python package"),
        ("torch", "torch is the name of another Python package"),
        ("random", "random is the name of another Python package"),
        ("conf", "conf is the name of another Python package or folder"),
        ("there", "there exists already: choose another name"),
    ],
)
def test_a_name_that_will_not_do(name, message, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=message):
        new(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["name=a"], ["--force"]])
def test_it_takes_a_name_and_nothing_else(arguments, monkeypatch):
    monkeypatch.setattr("sys.argv", ["inkwash", *arguments])
    with pytest.raises(SystemExit, match="error: give a name and nothing else: inkwash new NAME"):
        main()


def test_it_says_what_to_type_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["inkwash", "atelier"])
    main()
    assert re.match(r"atelier    \d+ files; next: cd atelier && make test train", capsys.readouterr().out)


def test_the_template_is_in_the_wheel():
    """It is below the package, and no pattern of .gitignore, which hatchling follows, leaves out a file of it."""
    assert TEMPLATE.is_relative_to(ROOT / "src" / "inkwash")
    files = [str(path) for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    ignored = subprocess.run(["git", "check-ignore", "--no-index", *files], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout == ""


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes that import torch
def test_the_project_works(project, tmp_path):
    """Its tests pass, one of which trains; and make trains, samples and evaluates from its folder."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    variables.pop("INKWASH_TRUST")
    small = "debug=fast run=small extractor=pyramid trainer.accelerator=cpu"
    for words in (
        ("test", "ARGS=-p no:cacheprovider"), ("train", f"ARGS={small}"), ("sample", "ARGS=num_images=2 out=drawn"),
        ("evaluate", "ARGS=num_images=8 metrics=[brightness] out=measured"),
    ):  # fmt: skip
        done = subprocess.run(
            ["make", f"PYTHON={sys.executable}", *words], cwd=project, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    assert "weights/norm" in (project / "runs" / "small" / "metrics.csv").read_text()
    assert "brightness" in (project / "measured" / "table.json").read_text()
    unset = {**variables, "INKWASH_CONF": "", "PYTHONPATH": str(ROOT / "src")}
    sampled = subprocess.run(
        [sys.executable, "-m", "inkwash", "sample", "run=small"], cwd=project, env=unset, capture_output=True, text=True
    )
    assert sampled.returncode == 1
    assert "or pass --config-dir=FOLDER (or INKWASH_CONF) if FOLDER/inkwash.yaml trusts it" in sampled.stderr
    assert "Traceback" not in sampled.stderr
