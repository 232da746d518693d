"""Folders of YAMLs beside conf/: INKWASH_CONF, --config-dir, and what inkwash.yaml in them may say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inkwash import compose
from inkwash.config import cli, own_folders
from inkwash.config.help import page
from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.config.suggest import _places, nearest
from inkwash.config.trust import refuse_strangers, trusted_packages
from inkwash.config.validate import check_nodes
from inkwash.errors import UserError


@pytest.fixture(autouse=True)
def as_before(monkeypatch, tmp_path):
    """A folder of the user's own in each test; what it changes in this process is undone."""
    for name in ("INKWASH_CONF", "INKWASH_TRUST", "PYTHONPATH"):
        monkeypatch.setenv(name, "")  # remembered, so that what a test sets is taken back
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield
    for module in [module for module in sys.modules if module.split(".")[0] in ("studio", "atelier")]:
        del sys.modules[module]


def folder(name: str, **files: str) -> Path:
    """Write files, `group__choice=text` or `inkwash=text`, into a folder."""
    for file, text in files.items():
        path = Path(name, f"{file.replace('__', '/')}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Path(name).resolve()


def package(place: Path, name: str) -> None:
    (place / name).mkdir(parents=True)
    (place / name / "__init__.py").touch()
    (place / name / "nets.py").write_text("class Net:\n    def __init__(self, width=1):\n        self.width = width\n")


MODEL = "_target_: studio.nets.Net\nwidth: 3\n"


# --- Which folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["model=mine", "--config-dir=one", "seed=1", "--config-dir=two"],
        ["--config-dir", "one", "model=mine", "seed=1", "-cd", "two"],
        ["model=mine", "seed=1", "--config-dir", "one", "--config-dir", "two"],
    ],
)
def test_flags_are_taken_from_anywhere(arguments, monkeypatch):
    one, two, three = (folder(name, model__mine="") for name in ("one", "two", "three"))
    monkeypatch.setenv("INKWASH_CONF", f"three{os.pathsep}{one}")
    assert own_folders.take_flags(arguments) == ["model=mine", "seed=1"]
    assert own_folders.folders() == [one, two, three]
    assert os.environ["INKWASH_CONF"] == os.pathsep.join(map(str, (one, two, three)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "mine is not a folder: name one with YAML files, as .*mine/model/my_net.yaml"),
        (lambda: Path("mine").mkdir(), "mine has no YAML file: put some there"),
        (lambda: folder("mine", model__unet_small=""), "mine/model/unet_small.yaml is never read"),
    ],
)
@pytest.mark.parametrize("flag", [True, False])
def test_a_folder_of_no_use_is_one_sentence(make, message, flag, monkeypatch):
    make()
    if not flag:
        monkeypatch.setenv("INKWASH_CONF", "mine")
    with pytest.raises(UserError, match=message) as error:
        own_folders.take_flags(["--config-dir=mine"] if flag else [])
    assert "\n" not in str(error.value)


def test_conf_itself_may_be_named():
    assert own_folders.take_flags([f"--config-dir={config_dir()}"]) == []


def test_a_flag_without_a_folder():
    with pytest.raises(UserError, match="--config-dir needs the name of a folder"):
        own_folders.take_flags(["seed=1", "--config-dir"])


def test_choices_are_found_everywhere(monkeypatch):
    monkeypatch.setenv("INKWASH_CONF", str(folder("mine", model__my_net=MODEL)))
    assert compose("model=my_net").model.width == 3
    assert "my_net" in page("train").split()
    assert nearest("Could not find 'model/my_ned'", "train") == "model=my_net"
    assert "my_net" in _places("model")["width"]["model.width"]
    near = nearest("full_key: model.widht\nKey 'widht' is not in struct", "train")
    assert near.startswith("model.width, of model=")
    monkeypatch.setattr(sys, "argv", ["inkwash", "model=7"])
    assert "my_net" in cli._no_choice(["model=7"])


def test_a_broken_yaml_of_ones_own_does_not_hide_another_mistake(monkeypatch):
    monkeypatch.setenv("INKWASH_CONF", str(folder("mine", model__broken="a: [")))
    assert nearest("full_key: model.chanels\nKey 'chanels' is not in struct", "train").startswith("model.channels")


def test_a_yaml_of_another_encoding_does_not_hide_another_mistake(monkeypatch):
    there = folder("mine", model__broken="", callbacks__broken="")
    for group in ("model", "callbacks"):
        (there / group / "broken.yaml").write_bytes("# Größe\nsize: 1\n".encode("latin-1"))
    monkeypatch.setenv("INKWASH_CONF", str(there))
    assert nearest("full_key: model.chanels\nKey 'chanels' is not in struct", "train").startswith("model.channels")
    near = nearest("full_key: callbacks.sampels\nKey 'sampels' is not in struct", "train")
    assert near.startswith("callbacks.samples")


# --- inkwash.yaml -----------------------------------------------------------------------------------------------------


def test_trust_and_path(monkeypatch):
    """With a folder named once, its classes are trusted and found."""
    package(Path("project"), "studio")
    conf = folder("project/conf", model__my_net=MODEL, inkwash="trust: [studio]\npath: ..\n")
    node = {"_target_": "studio.nets.Net", "width": 3}
    with pytest.raises(UserError, match=r"if it is yours, set INKWASH_TRUST=PACKAGE .* or pass --config-dir=FOLDER"):
        check_nodes({"model": node})
    monkeypatch.setenv("INKWASH_CONF", str(conf))
    check_nodes({"model": node})
    assert build(node).width == 3
    assert os.environ["PYTHONPATH"] == str(conf.parent)


def test_other_packages_stay_strangers(monkeypatch):
    monkeypatch.setenv("INKWASH_CONF", str(folder("mine", inkwash="trust: studio")))
    monkeypatch.setenv("INKWASH_TRUST", "atelier")
    assert trusted_packages() == ["atelier", "studio"]
    for target in ("os.system", "studios.Net", "subprocess.Popen"):
        with pytest.raises(UserError, match="neither a class of inkwash nor in conf/"):
            refuse_strangers({"_target_": target})


def test_a_list_of_packages_may_have_spaces_and_modules(monkeypatch):
    monkeypatch.setenv("INKWASH_TRUST", " atelier, studio.nets ,")
    assert trusted_packages() == ["atelier", "studio.nets"]
    for target in ("atelier.Net", "atelier.nets.Net", "studio.nets.Net", "studio.nets.deep.Net"):
        refuse_strangers({"_target_": target})
    for target in ("studio.Net", "studio.netsy.Net", "nets.Net", "atelier"):
        with pytest.raises(UserError, match="neither a class of inkwash nor in conf/"):
            refuse_strangers({"_target_": target})


@pytest.mark.parametrize("mark", own_folders.OF_A_RUN)
@pytest.mark.parametrize("flag", [True, False])
def test_a_run_is_never_followed(mark, flag, monkeypatch):
    """Its directory may come from a stranger, with an inkwash.yaml that trusts what it likes."""
    run = folder("run", inkwash="trust: [os]")
    (run / mark).touch()
    monkeypatch.setenv("INKWASH_CONF", "" if flag else str(run))
    with pytest.raises(UserError, match=rf"inkwash.yaml is not followed, because {mark} beside it .* is a run"):
        own_folders.take_flags([f"--config-dir={run}"] if flag else [])
    with pytest.raises(UserError, match="neither a class of inkwash" if flag else "is not followed"):
        refuse_strangers({"_target_": "os.system"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trusted: [a]", "there is no key trusted; did you mean trust?"),
        ("- a", "must be keys with values"),
        ("trust: [a.b]", "trust: a.b must be the name of a package"),
        ("trust: {a: 1}", r"trust must be text, or a list of texts: trust: \[mine\]"),
        ("path: nowhere", "path: .*/mine/nowhere is not a folder: it is relative to .*/mine"),
        ("trust: [", "cannot be read"),
    ],
)
def test_mistakes_in_it_are_one_sentence(text, message):
    folder("mine", inkwash=text)
    with pytest.raises(UserError, match=message) as error:
        own_folders.take_flags(["--config-dir=mine"])
    assert "inkwash.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("atelier.nets.Net", "no package atelier can be imported: set INKWASH_CONF=FOLDER, where FOLDER/inkwash.yaml"),
        ("studio.nests.Net", "studio has no nests: check the name"),
        ("studio.nets.Nett", "studio.nets has no Nett: check the name"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(target, message, monkeypatch):
    package(Path("project"), "studio")
    conf = folder("project/conf", inkwash="trust: [studio, atelier]\npath: [..]\n")
    monkeypatch.setenv("INKWASH_CONF", str(conf))
    with pytest.raises(UserError, match=message):
        build({"_target_": target})


def test_an_import_error_inside_ones_own_module_keeps_its_traceback(monkeypatch):
    package(Path("project"), "studio")
    Path("project/studio/broken.py").write_text("import atelier\n")
    monkeypatch.setenv("INKWASH_CONF", str(folder("project/conf", inkwash="trust: [studio]\npath: ..\n")))
    with pytest.raises(Exception, match="Error locating target") as error:
        build({"_target_": "studio.broken.Net"})
    assert not isinstance(error.value, UserError)


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_composes_from_it(tmp_path):
    """With the flag behind the overrides, and no other variable."""
    package(tmp_path / "project", "studio")
    folder("project/conf", model__my_net=MODEL, inkwash="trust: [studio]\npath: ..\n")
    done = subprocess.run(
        [sys.executable, "-m", "inkwash", "train", "model=my_net", "--config-dir", "project/conf", "--cfg", "job"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(config_dir()).parent / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "_target_: studio.nets.Net" in done.stdout
