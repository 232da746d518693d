"""The command `inkwash`: its help, its commands, its older names."""

import re
import subprocess
import sys

import pytest
import yaml

from inkwash.__main__ import COMMANDS, LIKE, main, usage
from support.runs import environment

# Module names from before `inkwash COMMAND`: a cheap call, and what it prints or ends with.
ALIASES = {
    "train": (["--cfg", "job", "seed=7"], 0, "seed: 7"),
    "sample": (["run=nowhere"], 1, "run=nowhere"),
    "evaluate": (["run=nowhere"], 1, "run=nowhere"),
    "export": (["run=nowhere", "out=x"], 1, "run=nowhere"),
    "importing": (["folder=nowhere", "run=x"], 1, "nowhere"),
    "dashboard": (["run=nowhere"], 1, "run=nowhere"),
    "sync": (["run=nowhere"], 1, "run=nowhere"),
}


def python(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment(OMP_NUM_THREADS="1"), capture_output=True,
        text=True,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], []])
def test_help_is_one_screen(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    result = python("inkwash", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    for name, (_, what, example) in COMMANDS.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert what in line
        assert line.endswith(example)
        assert example.startswith(f"inkwash {name} ")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_ends_in_one_sentence(tmp_path):
    result = python("inkwash", "trian", "seed=1", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    (sentence,) = result.stderr.splitlines()
    assert sentence == "error: there is no command 'trian': did you mean train?"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {*LIKE, "new"}))  # those print that of another
def test_every_command_prints_its_configuration(name, tmp_path, monkeypatch, capsys):
    required = {
        "compare": ["runs=x"],
        "sample": ["run=x"],
        "export": ["run=x", "out=y"],
        "import": ["folder=x", "run=y"],
    }.get(name, [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["inkwash", name, *required, "--cfg", "job"])
    monkeypatch.setattr("inkwash.__main__.signal.signal", lambda *_: None)
    main()
    assert isinstance(yaml.safe_load(capsys.readouterr().out), dict)
    assert list(tmp_path.iterdir()) == []


def test_sweep_is_train_with_multirun(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("inkwash.commands.train.main", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr("inkwash.__main__.signal.signal", lambda *_: None)
    for name in ("sweep", "train"):
        monkeypatch.setattr("sys.argv", ["inkwash", name, "seed=1,2"])
        main()
    assert seen == [["--multirun", "seed=1,2"], ["seed=1,2"]]


@pytest.mark.slow
def test_sweep_refuses_what_train_takes_for_one_value(tmp_path):
    """Really a sweep: of the same words the other command says that a list needs one."""
    sweep = python("inkwash", "sweep", "run=a,b", "seed=1,2", cwd=tmp_path)
    train = python("inkwash", "train", "seed=1,2", cwd=tmp_path)
    assert (sweep.returncode, train.returncode) == (1, 1)
    assert "run=a,b" in sweep.stderr
    assert "`inkwash sweep seed=1,2` trains one for each" in train.stderr


@pytest.mark.sampled(every=6)
@pytest.mark.parametrize(
    "module", [*(m if m != "importing" else pytest.param(m, marks=pytest.mark.slow) for m in ALIASES)]
)
def test_older_module_names_work(module, tmp_path):
    arguments, status, text = ALIASES[module]
    result = python(f"inkwash.{module}", *arguments, cwd=tmp_path)
    assert result.returncode == status, result.stderr
    assert text in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == status  # one sentence, or none
    assert list(tmp_path.iterdir()) == []


def test_console_scripts_are_there():
    """Every script of pyproject.toml is a function without arguments that can be called."""
    from importlib import import_module
    from pathlib import Path

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    scripts = dict(re.findall(r'^(inkwash[\w-]*) = "([\w.]+:\w+)"$', text, re.MULTILINE))
    assert scripts["inkwash"] == "inkwash.__main__:main"
    assert {"inkwash-train", "inkwash-sample", "inkwash-evaluate", "inkwash-export", "inkwash-import"} < {*scripts}
    for target in scripts.values():
        module, name = target.split(":")
        assert callable(getattr(import_module(module), name))


def test_the_script_runs_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["inkwash"])
    main()
    assert capsys.readouterr().out == f"{usage()}\n"


# --- Windows ----------------------------------------------------------------------------------------------------------

WINDOWS = """
import os, signal, sys
import hydra.main, multiprocessing.connection, tempfile, wandb
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
for module, names in (
    (signal, ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGKILL", "SIGHUP", "SIGQUIT", "alarm", "pthread_sigmask")),
    (os, ("getuid", "getloadavg", "killpg", "setpgid", "fork", "EX_IOERR")),
):
    for name in names:
        delattr(module, name)
sys.platform = "win32"
from inkwash.__main__ import main
sys.argv = ["inkwash", *sys.argv[1:]]
main()
"""


def windows(*arguments, cwd):
    """Run the command without what Python does not have on Windows."""
    (cwd / "windows.py").write_text(WINDOWS)
    command = [sys.executable, str(cwd / "windows.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)


@pytest.mark.parametrize("name", ["data", "train", "sweep", "sample", "evaluate"])
def test_a_command_that_windows_cannot_run_says_so(name, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("sys.argv", ["inkwash", name, "run=x"])
    monkeypatch.setattr("inkwash.__main__.signal.signal", lambda *_: None)
    with pytest.raises(SystemExit, match=f"^error: {name} needs Linux or macOS: on Windows run it in WSL 2"):
        main()


def test_it_says_so_before_it_imports_what_is_not_there(tmp_path):
    result = windows("train", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "error: train needs Linux or macOS: on Windows run it in WSL 2, which `wsl --install` sets up"
    ]


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("arguments", [["export", "run=nowhere", "out=x"], ["dashboard", "run=nowhere"], ["sync"]])
def test_the_others_start_there(arguments, tmp_path):
    result = windows(*arguments, cwd=tmp_path)
    assert "Traceback" not in result.stderr
    assert re.search("error: run=nowhere is not a run directory|nothing to upload", result.stderr + result.stdout)
