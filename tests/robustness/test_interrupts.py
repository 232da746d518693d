"""Ctrl-C before there is anything to save: a command ends at once, and says nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from support.bad_inputs.case import QUICK

INTERRUPTED = (-signal.SIGINT, 128 + signal.SIGINT)


def start(*command, path="", handler=signal.SIG_DFL, cwd=None):
    """In a group of its own, as a terminal starts it, whatever this process does about SIGINT."""
    return subprocess.Popen(
        command, cwd=cwd, env={**os.environ, "PYTHONPATH": f"{path}:{os.environ.get('PYTHONPATH', '')}"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )  # fmt: skip


def interrupting(folder, name):
    """A module of that name, which does what Ctrl-C does while it is imported."""
    (folder / f"{name}.py").write_text(
        "import os\nos.kill(os.getpid(), 2)\nprint('heard nothing', flush=True)\n1 / 0\n"
    )


@pytest.mark.parametrize(
    ("module", "imports"), [("inkwash", "hydra"), ("inkwash.train", "hydra"), ("inkwash.launch.elastic", "torch")]
)
def test_a_command_ends_while_it_imports(module, imports, tmp_path):
    arguments = {"inkwash": ["train"], "inkwash.launch.elastic": ["job:run", "x/config.yaml", "cpu", "1"]}.get(
        module, []
    )
    interrupting(tmp_path, imports)
    process = start(sys.executable, "-m", module, *arguments, path=tmp_path)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_so_does_an_installed_one(tmp_path):
    interrupting(tmp_path, "hydra")
    (tmp_path / "inkwash-train").write_text("from inkwash.train import main\nmain()\n")
    process = start(sys.executable, str(tmp_path / "inkwash-train"), path=tmp_path)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_what_the_shell_has_it_ignore_stays_ignored(tmp_path):
    interrupting(tmp_path, "hydra")
    process = start(sys.executable, "-m", "inkwash.train", path=tmp_path, handler=signal.SIG_IGN)
    assert process.communicate(timeout=20)[0] == "heard nothing\n"


def test_a_program_that_imports_inkwash_keeps_its_ctrl_c(tmp_path):
    (tmp_path / "mine.py").write_text("import signal\nimport inkwash\nprint(signal.getsignal(2).__name__)\n")
    process = start(sys.executable, "-m", "mine", path=tmp_path)
    assert process.communicate(timeout=20)[0] == "default_int_handler\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_at_any_moment_of_its_start(tmp_path):
    train, sweep = ("train", *QUICK), ("train", "--multirun", *QUICK, "seed=1,2", "trainer.max_steps=99999")
    trained = start(sys.executable, "-m", "inkwash.train", *QUICK, "run=run", cwd=tmp_path)
    assert trained.wait(120) == 0
    commands = [
        (*train, "run=other", "trainer.max_steps=99999"), (*sweep, "sweep=many"),
        (*sweep, "sweep=beside", "launcher=parallel"),
        ("sample", "run=run", "num_images=4000"), ("evaluate", "run=run", "trainer.accelerator=cpu"),
        ("export", "run=run", "out=x"), ("dashboard", "run=run", "out=y"),
    ]  # fmt: skip
    for module, *arguments in commands:
        for seconds in (0.2, 1.2, 3.5):
            process = start(sys.executable, "-m", f"inkwash.{module}", *arguments, cwd=tmp_path)
            time.sleep(seconds)
            over = process.poll() is not None
            if not over:
                os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            assert "Traceback" not in errors, (module, seconds, errors)
            assert process.returncode in ((0,) if over else INTERRUPTED), (module, seconds, errors)
    states = [json.loads(path.read_text())["state"] for path in tmp_path.glob("runs/**/status.json")]
    assert {*states} <= {"stopped", "finished"}
