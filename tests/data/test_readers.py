"""Readers get the images by their files, and send batches by whatever there is room for."""

import logging
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from inkwash.data import readers
from inkwash.data.folder import Folder
from inkwash.data.images import Flipped, Images
from inkwash.data.parquet_stream import ParquetStream
from inkwash.data.readers import Read, plan
from inkwash.errors import UserError
from support.runs import environment

ORDER = [[0, 3], [5, 1], [2, 4]]


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """A split in memory, one that is mapped from a file, and one that is streamed, with mirror images."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    place = tmp_path_factory.mktemp("images")
    files = []
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        files.append(place / "folder" / "ab"[i % 2] / f"{i:02}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(files[-1])
    rows = [{"bytes": file.read_bytes(), "path": None} for file in files]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(rows, kind), "label": [i % 3 for i in range(12)]})
    pq.write_table(table, place / "a.parquet", row_group_size=3)
    cached = Folder(cache_dir=str(place / "cache")).load("train", (3, 4, 4), str(place / "folder"))
    streamed = ParquetStream(cache_dir=str(place / "cache")).load("train", (3, 4, 4), str(place / "a.parquet"))
    memory = Images(torch.arange(12 * 48, dtype=torch.uint8).view(12, 3, 4, 4), torch.arange(12))
    return [memory, cached, streamed, Flipped(cached)]


class All(Dataset):
    """All splits, and whether the second is mapped from its file where this runs."""

    def __init__(self, splits):
        self.parts = [Read(split) for split in splits]
        self.file = str(splits[1].file)

    def __getitems__(self, indices):
        mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(self.file)]
        return [part.__getitems__(indices) for part in self.parts], len(mapped)


def as_it_is(batch):
    return batch


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(method, marks=pytest.mark.slow) for method in ("forkserver", "spawn"))]
)
def test_readers_of_every_start_method_see_the_same(splits, method):
    """pytorch#169252, metatrain#1243: with forkserver the mapped set was copied into shared memory, if it fitted."""
    loader = DataLoader(
        All(splits), batch_sampler=ORDER, num_workers=1, collate_fn=as_it_is, multiprocessing_context=method
    )
    for indices, (batches, mapped) in zip(ORDER, loader, strict=True):
        assert mapped == 1
        for split, (images, labels) in zip(splits, batches, strict=True):
            expected = split.__getitems__(indices)
            assert torch.equal(images, expected[0])
            assert torch.equal(labels, expected[1])


def test_what_is_mapped_is_pickled_by_its_path(splits):
    """Not by its content, of which there may be terabytes."""
    _, cached, streamed, _ = splits
    assert cached.file is not None
    for split in (cached, streamed):
        again = pickle.loads(ForkingPickler.dumps(split))
        assert torch.equal(torch.as_tensor(again.labels), torch.as_tensor(split.labels))
        assert again.fingerprint == split.fingerprint
        assert torch.equal(again.__getitems__([1, 2])[0], split.__getitems__([1, 2])[0])
    big = np.lib.format.open_memmap(cached.file.parent / "big.npy", "w+", np.int64, (500_000, 2))
    big[:] = np.arange(1_000_000).reshape(-1, 2)
    big.flush()
    for part in (np.load(cached.file.parent / "big.npy", mmap_mode="r"), big, big[:, 1], big[123_456:, 0], big[::7]):
        pickled = ForkingPickler.dumps(part)
        assert len(pickled) < 1000
        assert np.array_equal(pickle.loads(pickled), part)
    chosen = big[[3, 1]]  # a copy that calls itself a map
    assert np.array_equal(pickle.loads(ForkingPickler.dumps(chosen)), chosen)


# --- Batches ----------------------------------------------------------------------------------------------------------


def batches_of(read, **options):
    return list(DataLoader(read, batch_sampler=ORDER, num_workers=1, collate_fn=as_it_is, **options))


def test_a_batch_by_pipe_is_the_batch(splits):
    images = splits[0]
    for by_pipe in (False, True):
        for indices, batch in zip(ORDER, batches_of(Read(images, by_pipe)), strict=True):
            assert torch.equal(batch[0], images.images[indices])
            assert torch.equal(batch[1], images.labels[indices])
            assert batch[0].is_shared() == (not by_pipe)
            batch[0][:] = 0  # as writable as any


class Refused(Dataset):
    def __getitems__(self, indices):
        raise UserError("cat.png cannot be read")


def test_a_users_mistake_keeps_its_type(splits):
    assert isinstance(batches_of(Read(Refused(), True))[0], UserError)


FULL = """
import torch
from torch.utils.data import DataLoader
from inkwash.data.images import Images
from inkwash.data.readers import Read, plan

images = Images(torch.ones(64, 3, 64, 64, dtype=torch.uint8), torch.arange(64))
print("plan", plan(1, 32 * 3 * 64 * 64))
loader = DataLoader(Read(images), batch_sampler=[list(range(32))] * 20, num_workers=1, collate_fn=lambda batch: batch)
kept = [batch for batch in loader]
print("sum", sum(int(batch[0].sum()) for batch in kept), sum(batch[0].is_shared() for batch in kept))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_shared_memory_does_not_stop_the_readers():
    """pytorch#1355, hopsworks#1557: the training waited for ever. A batch takes 0.4 MB, and there are 2."""
    shell = 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$0" -c "$1"'
    command = ["unshare", "-m", "bash", "-c", shell, sys.executable, FULL]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    plan_line, sums = result.stdout.splitlines()
    assert plan_line == "plan (1, False)"
    _, total, shared = sums.split()
    assert int(total) == 20 * 32 * 3 * 64 * 64
    assert 0 < int(shared) < 20  # the first ones are held, so that there is no room for the others
    assert result.stderr.count("there is no shared memory left (/dev/shm)") == 1


SIGNALLED = """
import multiprocessing, os, signal, time
import torch
from torch.utils.data import DataLoader
from inkwash.data.images import Images
from inkwash.data.module import _as_it_is
from inkwash.data.readers import Read, plan
from inkwash.launch.signals import serve

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    signal.signal(signal.SIGTERM, lambda *_: None)  # a child would inherit SIG_IGN
    images = Images(torch.ones(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4))
    readers, by_pipe = plan(1, 4)
    options = {"num_workers": readers, "worker_init_fn": serve, "collate_fn": _as_it_is}
    loader = DataLoader(Read(images), batch_sampler=[[0]] * 20, **options)
    for number, batch in enumerate(loader):
        if number == 1:
            os.killpg(0, signal.SIGTERM)
            time.sleep(6)  # a reader looks for its parent every 5 s
    print("read", number + 1)
"""


@pytest.mark.slow
def test_a_signal_to_the_group_does_not_end_the_fork_server(tmp_path):
    """A scheduler sends it to all processes; the training finishes the step that is under way."""
    (tmp_path / "script.py").write_text(SIGNALLED)
    command = [sys.executable, "script.py"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, start_new_session=True, timeout=100
    )
    assert (result.returncode, result.stdout) == (0, "read 20\n"), result.stderr


# --- The plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_needs_room_for_the_batches_of_all_ranks(monkeypatch, caplog):
    """With Docker's 64 MB."""
    monkeypatch.setattr(readers, "_free", lambda _: 64_000_000)
    assert plan(2, 6_000_000) == (2, False)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert plan(2, 6_000_000, ranks=2) == (2, True)
    assert "/dev/shm has 64 MB left, and the batches of 4 readers may take 72 MB: they come by pipe" in caplog.text
    assert plan(0, 10**9) == (0, False)


def test_without_such_a_folder_there_is_no_limit():
    assert readers._free(Path("/nowhere")) is None


@pytest.fixture
def limit():
    """limit(n): so many more open files are allowed, and not one more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def lower(more):
        number = len(os.listdir("/dev/fd")) + more
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
        return number

    yield lower
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_many_open_files_as_are_allowed_are_asked_for(limit):
    limit(40)
    assert plan(2, 1000) == (2, False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == min(readers.OPEN_FILES, hard)


def test_few_open_files_leave_the_pipe(limit, monkeypatch, caplog):
    """torch's shared memory keeps two files open for each batch."""
    monkeypatch.setattr(readers, "OPEN_FILES", limit(60))
    assert plan(4, 1000) == (4, True)
    assert "too few for 4 readers with shared memory: batches come by pipe" in caplog.text
    with pytest.raises(UserError, match=r"data.num_workers=40 needs 200 open files.*pass data.num_workers=\d,"):
        plan(40, 1000)


def test_without_locks_the_training_reads_itself(monkeypatch, caplog):
    """As in AWS Lambda, which has no /dev/shm."""

    def refuse():
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(multiprocessing.get_context(), "Lock", refuse)
    assert plan(2, 1000) == (0, False)
    assert "cannot be started here ([Errno 38] Function not implemented)" in caplog.text
