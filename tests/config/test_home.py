"""A process without a home or a user name."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from inkwash.config.home import complete_environment

NOBODY = 54321  # a user without an entry
as_nobody = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def place():
    """A folder that every user may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def forked(work, place, **variables):
    """Run work() as a user without name and home, in a fork; return what it writes to `answer`."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
                os.environ.pop(name, None)
            os.environ.update(variables, TMPDIR=str(place))
            tempfile.tempdir = None
            os.chdir(place)
            (place / "answer").write_text(repr(work()))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    return (place / "answer").read_text()


def made():
    complete_environment()
    names = ("HOME", "USER", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    return {name: os.environ.get(name) for name in names}


@as_nobody
def test_without_a_home_there_is_one_for_the_time_being(place):
    home = str(place / f"inkwash-{NOBODY}")
    expected = {"HOME": home, "USER": f"user-{NOBODY}", "XDG_CACHE_HOME": None, "MPLCONFIGDIR": None}
    assert forked(made, place) == repr(expected)
    assert (Path(home).stat().st_uid, Path(home).stat().st_mode & 0o777) == (NOBODY, 0o700)
    assert forked(made, place) == repr(expected)  # the same one again


@as_nobody
def test_a_folder_that_another_user_has_made_is_left_alone(place):
    (place / f"inkwash-{NOBODY}").mkdir()
    assert f"inkwash-{NOBODY}" not in forked(made, place)


@as_nobody
def test_a_home_that_is_read_only_stays_home(place):
    """For the keys in it; what is written goes elsewhere."""
    (place / "home").mkdir()
    found = forked(made, place, HOME=str(place / "home"), USER="me")
    own = place / f"inkwash-{NOBODY}"
    expected = {"HOME": f"{place}/home", "USER": "me", "XDG_CACHE_HOME": f"{own}/.cache"}
    assert found == repr({**expected, "MPLCONFIGDIR": f"{own}/.config"})


OFFLINE = """
from inkwash.config.home import complete_environment
complete_environment()
import wandb
run = wandb.init(project="p", dir=".", mode="offline")
run.log({"a": 1})
run.finish()
"""


@as_nobody
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_wandb_logs_offline_there(place):
    """wandb#6520: `Could not determine home directory`, for a run that needs none."""
    reads = "+dac_read_search"  # this Python may lie in root's home
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", f"--inh-caps={reads}"]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    result = subprocess.run(
        [*user, f"--ambient-caps={reads}", sys.executable, "-c", OFFLINE],
        cwd=place, env={**kept, "TMPDIR": str(place)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert len(list(place.glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_what_is_there_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "me")
    before = dict(os.environ)
    complete_environment()
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []
