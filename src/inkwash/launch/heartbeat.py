"""Startup barrier and heartbeat between ranks that a launcher has started, perhaps on several machines.

gloo and NCCL wait half an hour for a machine that has lost its power or its network. Here every rank writes a counter
to the key-value store of rank 0 every few seconds, and watches its neighbour's.
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

from inkwash.errors import UserError
from inkwash.launch.environment import RankEnv
from inkwash.launch.report import GO_ON, LOST, fail

# Rank 0 may have to wait until another training has left the run directory (runs/lock.py).
PATIENCE = timedelta(seconds=120)
BEAT_SECONDS = 3.0
SILENCE_SECONDS = 30.0


@contextmanager
def heartbeat(config: Path, command_line: str) -> Iterator[None]:
    """Wait for the other ranks, then exchange heartbeats with them while the body runs.

    Args:
        config: the file that rank 0 has written for all ranks.
        command_line: the command line of this rank.

    Raises:
        UserError: a rank does not arrive, has another command line, or the file is not visible from here.
    """
    env = RankEnv.current()
    store = _store(env)
    _compare(store, env.rank, command_line)
    if env.local_world_size == 0:
        os.environ.update(_layout(store, env))
    _wait_for(config, env.rank)
    watch = Watch(config.parent, RankEnv.current())
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class Watch:
    """Two threads: one exchanges counters, which can hang; the other checks how old the neighbour's last one is.

    Each rank watches only the next one, so that rank 0's store is asked for little. What ends one rank ends all.
    """

    def __init__(self, directory: Path, env: RankEnv):
        self.directory, self.env, self.neighbour = directory, env, (env.rank + 1) % env.world_size
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
                store = store or _client(self.env, timedelta(seconds=SILENCE_SECONDS / 2))
                beat += 1
                store.set(f"beat/{self.env.rank}", str(beat))
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
                who = f"the machine of rank 0, {self.env.main_address}"
            elif now - self._heard > SILENCE_SECONDS:
                who = f"rank {self.neighbour}"
            else:
                continue
            silence = f"for {SILENCE_SECONDS:.0f} s {who} has given no sign of life"
            fail(self.directory, f"error: {LOST}: {silence}; {GO_ON}")


def _store(env: RankEnv) -> dist.Store:
    """Return the store of rank 0, once all ranks are there."""
    world = env.world_size
    try:
        store, _, _ = next(dist.rendezvous("env://", env.rank, world, timeout=PATIENCE))
        store.set(f"inkwash/here/{env.rank}", socket.gethostname())
        store.wait([f"inkwash/here/{other}" for other in range(world)], PATIENCE)
    except dist.DistError as error:
        where = f"{env.main_address}:{env.main_port}"
        raise UserError(
            f"the {world} processes of the job did not all connect to {where} within {PATIENCE.seconds} s: the first "
            f"error of another one says why, or a firewall is between them ({str(error).partition(chr(10))[0]})"
        ) from error
    return store


def _client(env: RankEnv, timeout: timedelta) -> dist.Store:
    """Open another connection to the same store: a `get` that waits would block other requests."""
    address, port = env.main_address, env.main_port
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"inkwash/{attempt}", dist.TCPStore(address, port, timeout=timeout, wait_for_workers=False))


def _compare(store: dist.Store, rank: int, command_line: str) -> None:
    """Raise UserError if the command line is not that of rank 0."""
    if rank == 0:
        store.set("inkwash/command_line", command_line)
    elif (first := store.get("inkwash/command_line").decode()) != command_line:
        raise UserError(
            f"rank {rank} was started with `{command_line}`, but rank 0 with `{first}`: give all the same command"
        )


def _layout(store: dist.Store, env: RankEnv) -> dict[str, str]:
    """Return the variables that say how many ranks there are on each node, from the LOCAL_RANK of all.

    Raises:
        UserError: there are more on one node than on another, or ranks are not numbered node by node.
    """
    store.set(f"inkwash/local/{env.rank}", str(env.local_rank))
    locals_ = [int(store.get(f"inkwash/local/{rank}")) for rank in range(env.world_size)]
    per_node = max(locals_) + 1
    if env.world_size % per_node or locals_ != [rank % per_node for rank in range(env.world_size)]:
        raise UserError(
            f"LOCAL_RANK is {', '.join(map(str, locals_[:16]))} for ranks 0, 1, ...: number them node by node, with as "
            "many on each"
        )
    return {"LOCAL_WORLD_SIZE": str(per_node), "GROUP_RANK": str(env.rank // per_node)}


def _wait_for(config: Path, rank: int) -> None:
    """Wait for a file that rank 0 has written: a shared disk may show it late."""
    deadline = time.monotonic() + 20
    while not config.exists():
        if time.monotonic() > deadline:
            raise UserError(
                f"rank {rank} on {socket.gethostname()} does not see {config.parent.absolute()}: run directories must "
                "lie on a disk that all nodes share"
            )
        time.sleep(0.2)
