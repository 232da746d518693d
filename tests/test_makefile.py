"""The Makefile: what is typed after `make train` reaches Hydra, and nothing else reaches anything.

Every test runs the real Makefile on a stand-in for .venv, whose python writes down what it was called with.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAIN = ["-m", "inkwash", "train"]
RECORDER = "import json, os, sys; print(json.dumps({'argv': sys.argv[1:], 'env': dict(os.environ)}))"
TARGETS = [
    "help", "install", "train", "sweep", "resume", "plan", "summary", "sample", "evaluate", "average", "data",
    "encode", "runs", "compare", "report", "export", "import", "dashboard", "sync", "clean-runs", "study",
    "reproduce", "test", "test-slow", "robustness", "cluster", "mutants", "explain", "labbook", "bench", "bench-gpu",
    "docs", "docs-serve", "lint", "format", "lock", "clean",
]  # fmt: skip

# What a variable typed on make's command line may hold; each arrives as it stands here.
OVERRIDES = [
    "model=unet_small",
    "name=two words",
    "name=two  blanks  inside  and  behind  ",
    "name=tab\tand\nnewline",
    "name=first\nsecond=2 third=3\n",
    "schedule=linear,cosine",
    "path=a=b=c",
    "name=run #7",
    "name=#",
    "name=$HOME",
    "name=$$",
    "name=$(shell echo expanded)",
    "name=${oc.env:HOME}",
    "name=`echo expanded`",
    "name=a;echo b&&echo c|cat>d",
    "name=it's",
    "name='single'",
    'name="double"',
    "name='$HOME' \"$HOME\" '",
    "model.channels=[32,64]",
    "model={a: 1, b: [1, 2]}",
    "model={a:1,b:2}",
    "seed=range(1,5)",
    "seed=choice(1, 2)",
    "name=)",
    "name=*",
    "name=?[a-z]!{1..3}",
    "name=100%",
    "name=~/somewhere",
    "name=α墨🖌",
    "name=\\",
    "name=\\\\ \\, \\\t",
    "name=trailing\\",
    "name=<sp>&lt;",
    "name=@-+",
    "name=",
    "name=null",
    "optimizer.lr=3e-4",
    "hydra/launcher=joblib",
    "+new.key=1",
    "++model.channels=[32, 64]",
    "+path=two words",
    "~logger=null",
    "~logger",
    "~callbacks/ema",
]


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A stand-in for .venv that is newer than the lock file, so that nothing is ever installed."""
    venv = tmp_path / "venv"
    executable(venv / "bin/python", f'exec {shlex.quote(sys.executable)} -IS -c "{RECORDER}" "$@"')
    (venv / ".installed").touch()
    return venv


def make(venv: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # The tests themselves may run under `make test ARGS=...` or in a shell that sets our variables.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "ARGS", "MAKEFLAGS", "MAKELEVEL")} | environment
    return subprocess.run(
        ["make", f"VENV={venv}", *words], cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=60
    )


def recorded(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_arrives_as_typed(venv: Path, override: str) -> None:
    assert recorded(make(venv, "train", override))["argv"] == [*TRAIN, override]


def test_dry_run_prints_a_command_to_paste(venv: Path) -> None:
    """Pasted into bash, what `make -n` prints gives the arguments that make itself would have given."""
    bare = [o for o in OVERRIDES if "=" not in o]
    for override in [o for o in OVERRIDES if "=" in o]:
        dry = make(venv, "-n", "train", override, *bare)
        assert dry.returncode == 0, dry.stderr
        pasted = subprocess.run(["bash", "-c", dry.stdout], cwd=ROOT, capture_output=True, encoding="utf-8")
        assert recorded(pasted)["argv"] == [*TRAIN, override, *bare]


def test_the_order_is_kept_and_a_bare_deletion_comes_last(venv: Path) -> None:
    typed = [f"key_{i}={i}" for i in (3, 1, 2, *range(10, 40))] + ["+b=1", "a=2", "++c=3", "~d=4"]
    assert recorded(make(venv, *typed[:5], "~e", "train", *typed[5:]))["argv"] == [*TRAIN, *typed, "~e"]


def test_args_is_read_once_by_the_shell(venv: Path) -> None:
    args = "--cfg job 'model@net:a=b c' x=$NAME"
    run = recorded(make(venv, "train", "seed=1", f"ARGS={args}", NAME="it"))
    assert run["argv"] == [*TRAIN, "seed=1", "--cfg", "job", "model@net:a=b c", "x=it"]


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("sweep", ["-m", "inkwash", "sweep", "seed=1,2"]),
        ("sample", ["-m", "inkwash", "sample", "seed=1,2"]),
    ],
)
def test_sweep_and_sample_take_the_same_overrides(venv: Path, target: str, command: list[str]) -> None:
    assert recorded(make(venv, target, "seed=1,2"))["argv"] == command


def test_nothing_typed_leaks_into_the_environment(venv: Path) -> None:
    words = ("train", "seed=1", "run=x", "+new=2", "~old=3", "~older", "ARGS=a=1", "PYTHON=python3", "-k")
    # make keeps MAKELEVEL for itself, and the shells between us and the recorder set the others.
    assert set(recorded(make(venv, *words))["env"]) - set(os.environ) <= {
        "MAKELEVEL", "SHLVL", "PWD", "OLDPWD", "_", "LC_CTYPE", "__CF_USER_TEXT_ENCODING",
    }  # fmt: skip


def test_the_environment_is_no_override(venv: Path) -> None:
    assert recorded(make(venv, "train", seed="1", model="unet"))["argv"] == TRAIN


@pytest.mark.parametrize("words", [("lint", "seed=1"), ("seed=1",), ("test", "~seed")])
def test_an_override_is_never_silently_dropped(venv: Path, words: tuple[str, ...]) -> None:
    done = make(venv, *words)
    assert done.returncode != 0
    assert (
        "seed: only train sweep resume summary plan sample evaluate average data encode runs compare report export "
        "import dashboard sync clean-runs study reproduce take overrides" in done.stderr
    )


def test_assignments_of_make_itself_are_refused(venv: Path) -> None:
    done = make(venv, "train", "seed:=1")
    assert done.returncode != 0
    assert "write seed=..." in done.stderr


def test_what_make_cannot_carry_is_what_the_makefile_says(venv: Path) -> None:
    """The table at the top of the Makefile, but for k!=v, which make 3.81 does not have."""
    assert recorded(make(venv, "train", "k+=1"))["argv"] == [*TRAIN, "k=1"]
    assert recorded(make(venv, "train", "k= v"))["argv"] == [*TRAIN, "k=v"]
    assert recorded(make(venv, "train", "k=1", "l=2", "k=3"))["argv"] == [*TRAIN, "k=3", "l=2"]
    assert make(venv, "train", "a@b:c=d").returncode != 0
    assert make(venv, "train", "--cfg").returncode != 0


def test_failure_propagates(venv: Path) -> None:
    executable(venv / "bin/python", "exit 3")
    assert make(venv, "train").returncode != 0
    assert make(venv, "test").returncode != 0


@pytest.mark.parametrize(("stop", "to_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["ctrl-c", "kill"])
def test_stopping_make_leaves_no_process(venv: Path, tmp_path: Path, stop: signal.Signals, to_group: bool) -> None:
    started = tmp_path / "started"
    executable(venv / "bin/python", f"touch {shlex.quote(str(started))}; exec sleep 60")
    # Started in the background by a script, pytest ignores SIGINT and its children would inherit that.
    process = subprocess.Popen(
        ["make", f"VENV={venv}", "train"],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for(started.exists)
        (os.killpg if to_group else os.kill)(process.pid, stop)
        assert process.wait(timeout=10) != 0
        wait_for(lambda: not group_exists(process.pid))
    finally:
        if group_exists(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_help_lists_every_target(venv: Path) -> None:
    defined = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^ +make ([a-z-]+) +\S", make(venv).stdout, re.MULTILINE)
    assert listed == defined == TARGETS


def test_install_runs_once_and_again_when_the_lock_is_newer(venv: Path) -> None:
    assert make(venv, "-n", "install").stdout.count("pip install") == 0
    os.utime(venv / ".installed", (0, 0))
    assert make(venv, "-n", "train").stdout.count("pip install") == 2


def test_old_or_missing_python_is_one_sentence(venv: Path, tmp_path: Path) -> None:
    os.utime(venv / ".installed", (0, 0))
    old = executable(tmp_path / "python3", '[ "$1" = --version ] && echo Python 3.9.6; exit 1')
    done = make(venv, "train", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"needs Python 3.11 or newer, but {old} is Python 3.9.6" in done.stderr
    assert "but no-such-python is missing" in make(venv, "train", "PYTHON=no-such-python").stderr


def test_no_tracked_file_names_a_package_host_or_a_path_of_this_machine() -> None:
    """A lock file or a config made on one machine must work on all. The patterns are joined here to not match here."""
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org/whl"), ("anaconda", "org")]
    patterns = [re.escape(".".join(host)) for host in hosts] + [r"(?<![\w.})~*-])/" + r"work(?![\w-])"]
    forbidden = re.compile("|".join(patterns))
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in tracked.split("\0") if name]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for file in files
        if file.is_file() and b"\0" not in file.read_bytes()
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found
