"""Machines and a SLURM, removed after the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster import Machine, Slurm, shell

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machines():
    """Two machines with a cable between them."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    pair = [Machine(f"inkwash-{i}-{os.getpid()}", f"cable{i}", f"10.77.0.{i}") for i in (1, 2)]
    one, two = pair
    try:
        for machine in pair:
            shell("ip", "netns", "add", machine.name)
        shell("ip", "link", "add", one.device, "netns", one.name, "type", "veth", "peer", two.device, "netns", two.name)
        for machine in pair:
            shell("ip", "-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.device)
            for device in ("lo", machine.device):
                shell("ip", "-n", machine.name, "link", "set", device, "up")
        yield pair
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr}")
    finally:
        for machine in pair:
            machine.kill()
            shell("ip", "netns", "delete", machine.name, check=False)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if missing := [name for name in ("sbatch", "slurmctld", "slurmd", "munged") if not shutil.which(name)]:
        pytest.skip(f"no {missing[0]} here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons need root")
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture
def checkout(tmp_path):
    """A folder to submit from: with the environment and the script where a checkout has them."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copy(ROOT / "experiments" / "slurm" / "train.sbatch", tmp_path)
    return tmp_path
