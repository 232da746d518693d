"""Zip files in place of a folder."""

import json
import os
import zipfile

import pytest
import torch

from inkwash.data.archive import Archive, archive_of, forget, top_of
from inkwash.data.folder import Folder
from inkwash.errors import UserError

SHAPE = (3, 6, 5)


@pytest.fixture
def pixels(noise):
    return noise(12, 6, 5, 3)


@pytest.fixture
def images(pixels, encode):
    return [encode(image) for image in pixels]


@pytest.fixture
def pack(tmp_path):
    """pack({name: content}): a zip file."""

    def write(files, name="set.zip", method=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / name, "w", method) as packed:
            for title, content in files.items():
                packed.writestr(title, content)
        return tmp_path / name

    return write


@pytest.fixture
def load(tmp_path):
    """load(path): the training images, all of them unless said otherwise."""

    def read(path, split="train", **options):
        source = Folder(**{"cache_dir": str(tmp_path / "cache"), "heldout_fraction": 0} | options)
        return source.load(split, SHAPE, str(path))

    return read


def test_edm_and_stylegan_zips(images, pixels, pack, load):
    """Stored PNGs in folders of a thousand, and their labels in dataset.json (edm, stylegan2-ada-pytorch)."""
    names = [f"{i // 5:05}/img{i:08}.png" for i in range(12)]
    labels = {"labels": [[name, i % 3] for i, name in enumerate(names)]}
    files = dict(zip(names, images, strict=True)) | {"dataset.json": json.dumps(labels)}
    split = load(pack(files, method=zipfile.ZIP_STORED))
    assert split.labels.tolist() == [i % 3 for i in range(12)]
    assert torch.equal(split.images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    files["dataset.json"] = json.dumps({"labels": None})
    assert set(load(pack(files)).labels.tolist()) == {-1}


@pytest.mark.parametrize("top", ["", "pets/", "a/b/"])
def test_a_zip_of_a_folder_is_the_folder(images, pack, load, top):
    files = {f"{top}{'cat' if i % 2 else 'dog'}/{i}.png": image for i, image in enumerate(images)}
    junk = {f"__MACOSX/{top}cat/._1.png": b"AppleDouble", f"{top}.DS_Store": b"x", f"{top}cat/notes.txt": b"hello"}
    split = load(pack(files | junk))
    assert split.facts.classes.names == ("cat", "dog")
    assert sorted(split.labels.tolist()) == [0] * 6 + [1] * 6
    passed_over = {reason: tally.count for reason, tally in split.facts.passed_over.items()}
    assert passed_over == {"hidden": 1 if top else 2, "not images": 1}  # below the folder


def test_splits_within_a_zip(images, pack, load):
    files = {
        f"pets/{'train' if i < 8 else 'test'}/{'cat' if i % 2 else 'dog'}/{i}.png": x for i, x in enumerate(images)
    }
    path = pack(files)
    assert [len(load(path)), len(load(path, "heldout"))] == [8, 4]
    assert load(path, "heldout").facts.classes.names == ("cat", "dog")
    assert len(load(path, splits="none")) == 12


def test_a_heldout_zip(images, pack, load):
    train = pack({f"{i}.png": image for i, image in enumerate(images[:9])})
    heldout = pack({f"{i}.png": image for i, image in enumerate(images[9:])}, "heldout.zip")
    assert [len(load(train, split, heldout_path=str(heldout))) for split in ("train", "heldout")] == [9, 3]


def test_the_cache_notices_another_zip(images, pack, load):
    first = load(pack({f"{i}.png": image for i, image in enumerate(images)}))
    os.utime(path := pack({f"{i}.png": image for i, image in enumerate(reversed(images))}), (1, 1))
    assert not torch.equal(load(path).images, first.images)


def test_names_of_windows_and_files_without_a_suffix(images, pack, load):
    files = {f"cat\\{i}.png": image for i, image in enumerate(images[:6])}
    files |= {f"dog/{i}": image for i, image in enumerate(images[6:])} | {"dog/x": b"hello"}
    split = load(pack(files))
    assert (len(split), split.facts.classes.names) == (12, ("cat", "dog"))


def test_links_are_passed_over(images, pack, load, tmp_path):
    path = pack({f"{i}.png": image for i, image in enumerate(images)})
    with zipfile.ZipFile(path, "a") as packed:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "0.png")
    split = load(path)
    assert (len(split), split.facts.passed_over["links"].count) == (12, 1)


def test_a_damaged_member_is_a_corrupt_image(images, pack, load):
    path = pack({f"{i}.png": image for i, image in enumerate(images)}, method=zipfile.ZIP_STORED)
    content = path.read_bytes()
    place = content.index(images[3]) + 60
    path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    with pytest.raises(UserError, match=r"set\.zip/3\.png cannot be read as an image: .*skip_corrupt=true"):
        load(path)
    assert len(load(path, skip_corrupt=True)) == 11


@pytest.mark.parametrize(
    ("ruin", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], r"data\.path=.*set\.zip is no zip file, or damaged: fetch or pack it"),
        (lambda whole: b"", r"set\.zip is no zip file, or damaged"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", r"it is a Git LFS pointer; run `git lfs pull`"),
    ],
)
def test_damaged_zips_are_told(images, pack, load, ruin, message):
    path = pack({f"{i}.png": image for i, image in enumerate(images)})
    path.write_bytes(ruin(path.read_bytes()))
    with pytest.raises(UserError, match=message.removeprefix(r"data\.path=.*")):
        load(path)


def test_encrypted_zips_are_told(images, pack, load):
    path = pack({"0.png": images[0]})
    content = bytearray(path.read_bytes())
    for sign, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(sign) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"set\.zip is encrypted: unpack it, and give the folder"):
        load(path)


def test_a_method_that_python_does_not_know_is_told(images, pack, load):
    path = pack({f"{i}.png": image for i, image in enumerate(images)})
    content = bytearray(path.read_bytes())
    start = 0
    for sign, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        while (start := content.find(sign, start)) >= 0:
            content[start + place] = 9  # deflate64, as Windows packs large files
            start += 4
        start = 0
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"set\.zip cannot be unpacked \(.*\): unpack it, and give the folder"):
        load(path)


def test_a_file_twice_is_told(images, pack, load):
    path = pack({"0.png": images[0]})
    with zipfile.ZipFile(path, "a") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr("0.png", images[1])
    with pytest.raises(UserError, match=r"set\.zip holds 0\.png twice: pack it again"):
        load(path)


def test_no_file_stays_open_and_no_list_is_kept(images, pack, load):
    before = len(os.listdir("/dev/fd"))
    load(path := pack({f"a/{i}.png": image for i, image in enumerate(images)}))
    assert len(os.listdir("/dev/fd")) == before
    assert archive_of(path) is archive_of(path)
    first = archive_of(path)
    forget()
    assert archive_of(path) is not first


def test_paths_in_an_archive(pack, tmp_path):
    path = pack({"a/b/0.png": b"x", "a/1.png": b"y"})
    assert top_of(path) == path / "a"
    archive = Archive(path, path / "a")
    assert archive.children(path / "a") == ([path / "a/b"], [path / "a/1.png"])
    assert list(archive.contents([path / "a/1.png", path / "a/b/0.png"])) == [b"y", b"x"]
    assert archive_of(tmp_path) is None
    assert archive_of(tmp_path / "nowhere") is None
    assert top_of(tmp_path) == tmp_path


@pytest.mark.parametrize(("name", "source"), [("a.parquet", "parquet"), ("a.tar", "webdataset")])
def test_other_files_have_sources_of_their_own(tmp_path, load, name, source):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=rf"data\.path=.*{name} is not a folder: use data={source} for it"):
        load(tmp_path / name)


def test_paths_that_lead_elsewhere_are_counted(images, pack, load):
    names = ["a/cat/0.png", "../cat/1.png", "a/../bee/2.png", "a/dog/3.png", "a/@eaDir/4.png"]
    split = load(pack(dict(zip(names, images, strict=False))))
    assert (len(split), split.facts.classes.names) == (2, ("cat", "dog"))
    assert str(split.facts.passed_over["with .. in their paths"]) == "2 (../cat/1.png, a/../bee/2.png)"
    assert sum(tally.count for tally in split.facts.passed_over.values()) == 3


def test_paths_from_the_root_are_read(images, pack, load):
    split = load(pack({f"/{'cat' if i % 2 else 'dog'}/{i}.png": image for i, image in enumerate(images)}))
    assert (len(split), split.facts.classes.names) == (12, ("cat", "dog"))


def test_a_heldout_zip_of_one_class_keeps_it(images, pack, load):
    train = pack({f"pets/{'cat' if i % 2 else 'dog'}/{i}.png": image for i, image in enumerate(images[:8])})
    for top in ("", "more/"):
        heldout = pack({f"{top}dog/{i}.png": image for i, image in enumerate(images[8:])}, "heldout.zip")
        assert load(train, "heldout", heldout_path=str(heldout)).labels.tolist() == [1] * 4


def test_a_dataset_json_of_a_zip_that_lists_other_files_is_refused(images, pack, load):
    files = {f"00000/{i}.png": image for i, image in enumerate(images)}
    path = pack(files | {"dataset.json": json.dumps({"labels": [["x/0.png", 1]]})})
    with pytest.raises(UserError, match=r"dataset\.json lists 1 files, none of which is in .*set\.zip"):
        load(path)
