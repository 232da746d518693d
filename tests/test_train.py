"""What the launcher leaves in a run directory, with ranks that only pretend to train."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from conftest import QUICK
from inkwash import launch, rundir, train
from inkwash.training import processes

# Claims a file until its input ends, and says whether it could.
CLAIM = "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); sys.stdin.read()"
CLAIM = CLAIM.replace("sys.stdin", "print(1); sys.stdin")
RUN = Path("runs/run")


@pytest.fixture(scope="module")
def composed():
    with initialize_config_dir(launch.config_dir(), version_base="1.3"):
        return compose("train", [*QUICK, "run=run", "hydra.job.name=train"], return_hydra_config=True)


@pytest.fixture
def start(tmp_path, monkeypatch, capfd, composed):
    """start(ranks, key=value): `train run=run` where ranks(directory) stands for the job; returns status and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", composed)

    def begin(ranks, **changes):
        config = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        for key, value in changes.items():
            OmegaConf.update(config, key.replace("__", "."), value)
        monkeypatch.setattr(launch, "start", lambda module, directory, *_: ranks(directory))
        try:
            train.train(config)
        except SystemExit as stop:
            return stop.code, capfd.readouterr().err
        return 0, capfd.readouterr().err

    return begin


def trained(directory):
    """Ranks that have nothing to complain of."""
    rundir.write_text(directory / "summary.json", '{"metrics": {}}')
    return 0


@contextlib.contextmanager
def another_claims(path):
    """Gives whether another process could claim a file, which it keeps meanwhile."""
    command = [sys.executable, "-u", "-S", "-c", CLAIM, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        yield bool(process.stdout.readline())
        process.communicate()


def test_a_launcher_has_its_directory_to_itself_until_the_ranks_have_ended(start):
    """Also while they import torch, and have claimed nothing yet."""
    claimed = {}

    def ranks(directory):
        for name in ("launch.lock", "train.log"):
            with another_claims(directory / name) as claimed[name]:
                pass
        return trained(directory)

    assert start(ranks)[0] == 0
    assert claimed == {"launch.lock": False, "train.log": True}
    with another_claims(RUN / "launch.lock") as could:
        assert could


@pytest.mark.parametrize("whose", ["launch.lock", "train.log"])
def test_a_directory_in_which_another_trains_stays_as_it_is(start, monkeypatch, whose):
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.1)
    RUN.mkdir(parents=True)
    with another_claims(RUN / whose) as could:
        assert could
        status, said = start(trained)
    assert status == 1
    assert said.splitlines() == [
        "waiting for another process that trains in runs/run",
        "error: another process trains in runs/run: wait for its end, or choose another run=NAME",
    ]
    assert {path.name for path in RUN.iterdir()} <= {"launch.lock", "train.log"}
    assert start(trained)[0] == 0


def test_a_refused_start_leaves_no_directory(start):
    status, said = start(trained, resume="must")
    assert status == 1
    assert "there is no runs/run/checkpoints/last.ckpt" in said
    assert not RUN.exists()
