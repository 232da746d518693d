import contextlib
import errno
import os
import pickle
import resource

import pytest

from inkwash.data import reading
from inkwash.data.reading import content_of, patiently, stranger
from inkwash.errors import UserError


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses that were made; none is waited for."""
    made = []
    monkeypatch.setattr(reading.time, "sleep", made.append)
    return made


def failing(times, error):
    """A function that raises an error so many times, and then returns 5."""
    left = [error] * times

    def read():
        if left:
            raise left.pop()
        return 5

    return read


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ETIMEDOUT])
def test_what_may_pass_is_tried_again(pauses, number):
    assert patiently(failing(4, OSError(number, "?")), "a") == 5
    assert pauses == list(reading.PAUSES)
    with pytest.raises(UserError, match=rf"^a cannot be read \({os.strerror(number)}\): "):
        patiently(failing(5, OSError(number, "?")), "a")


def test_memory_may_be_free_a_moment_later():
    assert patiently(failing(4, MemoryError()), "a") == 5
    with pytest.raises(UserError, match=r"^a cannot be read: the memory of this machine does not suffice$"):
        patiently(failing(5, MemoryError()), "a")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_what_does_not_pass_is_told_at_once(pauses, number):
    with pytest.raises(UserError, match=r"^a cannot be read \(.*\): check that it is there and may be read$"):
        patiently(failing(1, OSError(number, "?")), "a")
    assert pauses == []


@pytest.mark.parametrize("error", [OSError("image file is truncated"), ValueError("?"), UserError("?")])
def test_damage_passes_through(pauses, error):
    with pytest.raises(type(error)):
        patiently(failing(1, error), "a")
    assert pauses == []


def test_file_descriptors_that_run_out_are_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
        with contextlib.suppress(OSError):
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(UserError, match=r"^a cannot be read \(Too many open files\): .*raise `ulimit -n`"):
            patiently(lambda: content_of(tmp_path / "a.png"), "a")
    finally:
        for number in kept:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_too_large_for_an_image_is_not_read(tmp_path):
    with open(tmp_path / "film.mov", "wb") as file:
        file.truncate(reading.LARGEST + 1)  # takes no room
    with pytest.raises(ValueError, match="exceeded"):
        content_of(tmp_path / "film.mov")


def test_images_are_no_strangers(encode, noise):
    assert stranger(encode(noise(4, 4, 3))) is None
    assert stranger(b"") is None
    assert stranger(b"\0\0\0\x18ftypavif") == ("a film", "save its frames as PNG or JPEG")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x93NUMPY\1\0v\0{", "a NumPy array"), (pickle.dumps([1]), "a pickle of Python"),
        (b"PAR1\x15", "a Parquet file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), (b"ARROW1\0\0", "an Arrow file"), (b"PK\3\4\n", "a zip file"),
        (bytes(257) + b"ustar\x0000", "a tar file"),
    ],
)  # fmt: skip
def test_other_files_are_told_by_their_beginning(content, kind):
    found = stranger(content)
    assert found is not None
    assert found[0].startswith(kind)
