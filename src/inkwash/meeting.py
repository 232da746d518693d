"""Ranks that torchrun or srun has started: they wait for each other at the beginning, and miss each other at once.

gloo and NCCL wait half an hour for a machine that has lost its power or its network, because nobody tells them. Here
every rank writes a sign of life every few seconds to the store of the first one, and looks at its neighbour's.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from inkwash.agent import GO_ON, LOST, fail
from inkwash.errors import UserError

# The first rank may wait for another training to leave the run directory (training/processes.py).
PATIENCE = timedelta(seconds=120)
BEAT_SECONDS = 3.0
SILENCE_SECONDS = 30.0


@contextmanager
def meeting(config: Path) -> Iterator[None]:
    """Around what a rank does; nothing for ranks that the agent of one machine has started.

    Args:
        config: the file that the first rank has written for all of them.

    Raises:
        UserError: the others do not come, were told something else, or the file is not seen from here.
    """
    told = os.environ.get("INKWASH_TOLD")
    if told is None or (world := int(os.environ["WORLD_SIZE"])) == 1:
        yield
        return
    rank = int(os.environ["RANK"])
    store = _store(rank, world)
    _compare(store, rank, told)
    _wait_for(config, rank)
    watch = Watch(config.parent, rank, world)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class Watch:
    """Two threads: one exchanges signs of life, which can hang; the other looks at how old the last one is.

    Each rank watches only the next one, so that the first machine is asked for little. What ends one rank ends all.
    """

    def __init__(self, directory: Path, rank: int, world: int):
        self.directory, self.rank, self.neighbour = directory, rank, (rank + 1) % world
        self._stopped = threading.Event()
        self._heard = time.monotonic()
        self._reached = time.monotonic()

    def start(self) -> None:
        for work in (self._exchange, self._look):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _exchange(self) -> None:
        beat, last = 0, b""
        store = None
        while not self._stopped.wait(BEAT_SECONDS):
            try:
                store = store or _client(timedelta(seconds=SILENCE_SECONDS / 2))
                beat += 1
                store.set(f"beat/{self.rank}", str(beat))
                self._reached = time.monotonic()
                heard = store.get(f"beat/{self.neighbour}")
            except dist.DistError:
                continue
            if heard != last:
                last, self._heard = heard, time.monotonic()

    def _look(self) -> None:
        while not self._stopped.wait(1.0):
            now = time.monotonic()
            if now - self._reached > SILENCE_SECONDS:
                who = f"the machine of rank 0, {os.environ['MASTER_ADDR']}"
            elif now - self._heard > SILENCE_SECONDS:
                who = f"rank {self.neighbour}"
            else:
                continue
            silence = f"for {SILENCE_SECONDS:.0f} s {who} has given no sign of life"
            fail(self.directory, f"error: {LOST}: {silence}; {GO_ON}")


def _store(rank: int, world: int) -> dist.Store:
    """The store of the first rank, once all are there."""
    try:
        store, _, _ = next(dist.rendezvous("env://", rank, world, timeout=PATIENCE))
        store.set(f"inkwash/here/{rank}", socket.gethostname())
        store.wait([f"inkwash/here/{other}" for other in range(world)], PATIENCE)
    except dist.DistError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"the {world} processes of the job did not meet at {where} within {PATIENCE.seconds} s: the first error of "
            f"another one says why, or a firewall is between them ({str(error).partition(chr(10))[0]})"
        ) from error
    return store


def _client(timeout: timedelta) -> dist.Store:
    """A connection of its own to the same store: one that waits would keep others from asking."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"inkwash/{attempt}", dist.TCPStore(address, port, timeout=timeout, wait_for_workers=False))


def _compare(store: dist.Store, rank: int, told: str) -> None:
    """Raise UserError where the command line is not that of the first rank."""
    if rank == 0:
        store.set("inkwash/told", told)
    elif (first := store.get("inkwash/told").decode()) != told:
        raise UserError(f"rank {rank} was told `{told}`, but rank 0 `{first}`: give all of them the same command")


def _wait_for(config: Path, rank: int) -> None:
    """A shared disk may take a while to show what the first rank has written."""
    deadline = time.monotonic() + 20
    while not config.exists():
        if time.monotonic() > deadline:
            raise UserError(
                f"rank {rank} on {socket.gethostname()} does not see {config.parent.absolute()}: run directories must "
                "lie on a disk that all nodes share"
            )
        time.sleep(0.2)
