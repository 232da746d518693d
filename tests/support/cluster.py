"""Machines that are network namespaces of this one, and a SLURM of our own. Both need root and leave nothing behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from support import runs

QUICK = (
    "debug=fast", "model.channels=8", "data.batch_size=16", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "trainer.threads=1", "logger=csv", "~callbacks.samples",
)  # fmt: skip
# One row of metrics.csv for each step, and nothing else.
LONG = ("~callbacks.evaluation", "~callbacks.heldout", "~callbacks.loss_by_noise", "~callbacks.ema_distance",
        "callbacks.log.every_n_steps=1", "callbacks.checkpoint.every_n_steps=10")  # fmt: skip


def environment():
    """Return the environment of commands: one thread, and classes of `support` allowed in configurations."""
    return runs.environment(INKWASH_TRUST="support", OMP_NUM_THREADS="1")


def wait_until(condition, seconds=150, what=""):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.3)
    return value


def state(run):
    path = run / "status.json"
    return json.loads(path.read_text())["state"] if path.exists() else None


def steps_of(run):
    """Return the steps of metrics.csv, in the order of its rows."""
    lines = (run / "metrics.csv").read_text().splitlines() if (run / "metrics.csv").exists() else []
    return [int(line.partition(",")[0]) for line in lines[1:] if line]


def shell(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout.strip()


# --- Two machines -----------------------------------------------------------------------------------------------------


class Machine:
    """Network namespace with an address of its own. `kill` ends its processes as a power failure would."""

    def __init__(self, name, device, address):
        self.name, self.device, self.address = name, device, address

    def start(self, *command, cwd):
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], cwd=cwd, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**environment(), "GLOO_SOCKET_IFNAME": self.device},
        )  # fmt: skip

    def pids(self):
        return [int(pid) for pid in shell("ip", "netns", "pids", self.name).split()]

    def kill(self):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def unplug(self):
        shell("ip", "-n", self.name, "link", "set", self.device, "down")


# --- SLURM ------------------------------------------------------------------------------------------------------------

# One node of four cores, whatever the machine has; no cgroups, no database, none of the system's own directories.
SLURM_CONF = """
ClusterName=inkwash
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=20
NodeName={host} CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Debian's slurmctld, slurmd and munged in a folder."""

    def __init__(self, home):
        self.home, self.host = home, socket.gethostname().partition(".")[0]
        self.variables = {"SLURM_CONF": str(home / "slurm.conf")}

    def start(self):
        key, ports = self.home / "munge.key", [free_port(), free_port()]
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self.home / "state").mkdir()
        (self.home / "spool").mkdir()
        (self.home / "slurm.conf").write_text(SLURM_CONF.format(host=self.host, home=self.home, ports=ports))
        files = {name: f"--{name}-file={self.home}/munge.{name}" for name in ("key", "pid", "log", "seed")}
        self("munged", "--force", f"--socket={self.home}/munge.socket", *files.values())
        self("slurmctld")
        self("slurmd")
        wait_until(lambda: self("sinfo", "-h", "-o", "%T", check=False) == "idle", 60, "SLURM's node is not idle")

    def stop(self):
        self("scancel", "--user=root", "--signal=KILL", "--full", check=False)
        self("scancel", "--user=root", check=False)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self("squeue", "-h", check=False), 30)
        for name in ("slurmd", "slurmctld", "munge"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((self.home / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                with contextlib.suppress(AssertionError):
                    wait_until(lambda pid=pid: not living(pid), 20)

    def __call__(self, *command, check=True, cwd=None):
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env={**environment(), **self.variables}
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result.stdout.strip()

    def sbatch(self, *arguments, cwd):
        """Submit, return the job's number."""
        return self("sbatch", "--parsable", "--output=job-%j.log", *arguments, cwd=cwd)

    def at_once(self, job):
        """Start a requeued job now; SLURM would let it wait for two minutes."""
        wait_until(lambda: self.state_of(job) == "PENDING", 60, f"job {job} does not come back into the queue")
        time.sleep(3)  # a credential that was made in the second in which the last one was revoked is refused, too
        wait_until(lambda: not self("scontrol", "update", f"jobid={job}", "starttime=now", check=False), 10)

    def state_of(self, job):
        return self("squeue", "-h", "-j", str(job), "-t", "all", "-o", "%T", check=False)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def living(pid):
    """Return True if the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
