import os
import pwd
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image

from inkwash.data.caches import ensure, locked
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.errors import UserError


@pytest.fixture
def shared(encode):
    """A folder that every user may enter, with a.parquet of ten images."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        table = {"image": [encode(np.eye(2, dtype=np.uint8))] * 10, "label": [0] * 10}
        pq.write_table(pa.table(table), f"{name}/a.parquet")
        yield Path(name)


def load(folder, user, fraction=0.1):
    """What a user sees: the numbers of images of two sources, or the error."""
    Image.init()  # a plug-in would be looked for later, in a folder that is not open to all
    receiver, sender = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            os.write(sender, " ".join(_numbers(folder, fraction)).encode())
        except BaseException as error:
            os.write(sender, str(error).encode())
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as stream:
        seen = stream.read()
    os.waitpid(child, 0)
    return seen


def _numbers(folder, fraction):
    for source in (Parquet, ParquetStream):
        loaded = source(cache_dir=str(folder / "cache"), heldout_fraction=fraction).load(
            "train", (1, 2, 2), str(folder / "a.parquet")
        )
        yield str(len(loaded))


root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to act as two users")


@root
def test_a_filled_cache_serves_users_who_may_not_write(shared):
    """A cache in a shared folder, or on a read-only disk (datasets#6589, datasets#7900)."""
    (shared / "cache").mkdir()
    assert load(shared, 0) == "9 9"
    nobody = pwd.getpwnam("nobody").pw_uid
    assert load(shared, nobody) == "9 9"
    assert "cannot be written to: choose another folder" in load(shared, nobody, 0.2)


@root
def test_a_cache_that_two_users_write(shared):
    (shared / "cache").mkdir(mode=0o777)
    os.chmod(shared / "cache", 0o777)
    nobody = pwd.getpwnam("nobody").pw_uid
    assert load(shared, nobody) == "9 9"
    assert load(shared, 0) == "9 9"
    assert load(shared, 0, 0.2) == "8 8"
    assert load(shared, nobody, 0.3) == "7 7"  # with another split in an index of its own
    assert load(shared, nobody, 0.2) == "8 8"
    for lock in (shared / "cache").glob("*.lock"):  # as older versions and other tools leave them
        os.chown(lock, 0, 0)
        os.chmod(lock, 0o644)
    for folder in (path for path in (shared / "cache").iterdir() if path.is_dir()):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert load(shared, nobody) == "9 9"


def test_a_folder_is_filled_once_and_whole(tmp_path):
    filled = []

    def fill(folder):
        filled.append(folder)
        (folder / "a").write_text("a")

    for _ in range(2):
        ensure(tmp_path / "new" / "x", fill)
    assert len(filled) == 1
    assert (tmp_path / "new/x/a").read_text() == "a"
    with pytest.raises(ZeroDivisionError):
        ensure(tmp_path / "new" / "y", lambda folder: 1 / 0)
    assert not (tmp_path / "new/y").exists()


def test_the_lock_keeps_others_out(tmp_path):
    with locked(tmp_path / "x"), pytest.raises(TimeoutError):
        FileLock(tmp_path / "x.lock", timeout=0).acquire()
    assert (tmp_path / "x.lock").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("no flock")])
def test_a_disk_without_locks_is_told(tmp_path, monkeypatch, error):
    def fail(self, *_, **__):
        raise error

    monkeypatch.setattr("filelock.BaseFileLock.acquire", fail)
    with pytest.raises(UserError, match=r"on a disk where files cannot be locked \(.*\): choose another folder"):
        ensure(tmp_path / "x", lambda folder: None)
