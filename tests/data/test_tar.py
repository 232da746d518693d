import io
import os
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from inkwash.data import tar
from inkwash.errors import UserError


@pytest.fixture
def pack(tmp_path):
    """pack([(name, content or TarInfo of a link)]): a tar file."""

    def write(members, name="a.tar", **options):
        with tarfile.open(tmp_path / name, "w", **options) as packed:
            for title, content in members:
                info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(title)
                info.name = title
                if not isinstance(content, tarfile.TarInfo):
                    info.size = len(content)
                packed.addfile(info, io.BytesIO(content) if info.size else None)
        return tmp_path / name

    return write


def link(target, kind):
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def listed(file):
    passed_over = {}
    found = [(m.name, tar.content_of(file, m)) for m in tar.members(file, passed_over)]
    return found, {reason: (tally.count, tally.first) for reason, tally in passed_over.items()}


def test_files_of_the_system_are_passed_over_and_counted(pack):
    """What bsdtar of macOS (openneuro#2520, mvt#922), Finder, pax and Windows leave in tar files."""
    strangers = [
        "./._0.png", "__MACOSX/._0.png", "d/.DS_Store", "PaxHeaders.42/0.png", "d/PaxHeader/0.png", ".ipynb/0.png",
        "d/Thumbs.db", "desktop.ini", "d/@eaDir/0.png", "$RECYCLE.BIN/0.png",
    ]  # fmt: skip
    file = pack([("./0.png", b"a"), *((name, b"x") for name in strangers), ("d/1.png", b"b"), ("..d/2.png", b"c")])
    found, passed_over = listed(file)
    assert found == [("0.png", b"a"), ("d/1.png", b"b")]
    assert passed_over == {"hidden, or of the operating system": (11, strangers[:3])}


def test_links_are_followed_within_the_file(pack):
    """GNU tar stores a second hard link to a file as a link; rsync's and git-annex's sets have symbolic ones."""
    file = pack(
        [
            ("a/0.png", b"first"), ("b/1.png", link("a/0.png", tarfile.LNKTYPE)),
            ("b/2.png", link("../a/0.png", tarfile.SYMTYPE)), ("b/3.png", link("./2.png", tarfile.SYMTYPE)),
            ("b/4.png", link("5.png", tarfile.SYMTYPE)), ("b/5.png", b"behind"),
            ("c/6.png", link("7.png", tarfile.SYMTYPE)), ("c/7.png", link("6.png", tarfile.SYMTYPE)),
            ("c/8.png", link("/data/8.png", tarfile.SYMTYPE)),
        ]
    )  # fmt: skip
    found, passed_over = listed(file)
    assert found == [
        ("a/0.png", b"first"), ("b/1.png", b"first"), ("b/2.png", b"first"), ("b/3.png", b"first"),
        ("b/4.png", b"behind"), ("b/5.png", b"behind"),
    ]  # fmt: skip
    assert passed_over == {"links to files that are not in the tar file": (3, ["c/6.png", "c/7.png", "c/8.png"])}


def test_files_put_together_by_cat_are_refused(pack, tmp_path):
    """Behind the end mark of the first is a second tar file, which plain tar does not read, either."""
    first, second = (pack([(f"{name}.png", b"x")], f"{name}.tar") for name in "ab")
    both = tmp_path / "both.tar"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(UserError, match=r"both\.tar goes on after its end mark, .* tar -xif, and pack again"):
        listed(both)
    both.write_bytes(first.read_bytes() + bytes(10**6))  # zeros, of a tape's blocks for one, are no content
    assert listed(both)[0] == [("a.png", b"x")]


def test_a_real_folder_with_hard_links(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/0.png").write_bytes(b"first")
    os.link(tmp_path / "set/0.png", tmp_path / "set/1.png")
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        packed.add(tmp_path / "set", "set")
    found, passed_over = listed(tmp_path / "a.tar")
    assert [content for _, content in found] == [b"first", b"first"]
    assert passed_over == {}


@pytest.mark.parametrize(("mode", "command"), [("gz", "gunzip"), ("bz2", "bunzip2"), ("xz", "unxz")])
def test_compressed_files_are_told_with_what_unpacks_them(tmp_path, mode, command):
    file = tmp_path / f"a.tar.{mode}"
    with tarfile.open(file, f"w:{mode}"):
        pass
    with pytest.raises(UserError, match=rf"unpack it first, `{command} < a\.tar\.{mode} > a\.tar`$"):
        listed(file)


def test_what_is_found_in_place_of_a_tar_file_is_told(tmp_path):
    (tmp_path / "a.tar").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="it is a Git LFS pointer; run `git lfs pull`"):
        listed(tmp_path / "a.tar")


def test_spans_are_read_in_any_order_and_far_apart(tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "a").write_bytes(content)
    spans = np.array([[90_000, 10], [5, 100], [50, 10], [50, 10], [99_990, 10], [200, 0]])
    wanted = [content[begin : begin + size] for begin, size in spans]
    assert tar.read_spans(tmp_path / "a", spans) == wanted
    monkeypatch.setattr(tar, "GAP", 1000)
    assert tar.read_spans(tmp_path / "a", spans) == wanted
    assert tar.read_spans(tmp_path / "a", spans[:0]) == []
    with pytest.raises(UserError, match=r"a was cut short after the job began"):
        tar.read_spans(tmp_path / "a", np.array([[99_995, 10]]))


def test_a_read_that_returns_less_than_it_was_asked_for_goes_on(tmp_path, monkeypatch):
    """Linux reads at most 2 GB at once, a network file system sometimes less."""
    (tmp_path / "a").write_bytes(bytes(range(200)))
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, begin: pread(file, min(size, 7), begin))
    assert tar.read_spans(tmp_path / "a", np.array([[3, 100]])) == [bytes(range(3, 103))]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux: reading it is an input/output error")
def test_a_disk_that_is_ill_is_not_damage(monkeypatch):
    monkeypatch.setattr("inkwash.data.reading.PAUSES", (0.0,))
    with pytest.raises(UserError, match=r"/proc/self/mem cannot be read \(Input/output error\): it was tried 2 times"):
        tar.read_spans(Path("/proc/self/mem"), np.array([[0, 10]]))
    with pytest.raises(OSError, match="Input/output error"):
        list(tar.members(Path("/proc/self/mem"), {}))


def test_no_file_stays_open(pack):
    file = pack([(str(i), b"x") for i in range(5)])
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        assert len(list(islice(tar.members(file, {}), 2))) == 2
        assert tar.name_at(file, 512) == "0"
    assert len(os.listdir("/dev/fd")) == before
