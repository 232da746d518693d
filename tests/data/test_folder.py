import os
import shutil
from pathlib import Path

import pytest
import torch

from inkwash.data.folder import Folder
from inkwash.errors import UserError

SHAPE = (3, 6, 5)


@pytest.fixture
def folder(tmp_path):
    """A Folder source that caches below tmp_path."""
    return lambda **kwargs: Folder(cache_dir=str(tmp_path / "cache"), **kwargs)


@pytest.fixture
def fill(encode):
    """Write images to 0.png, 1.png, ... of a new folder."""

    def write(folder, images):
        folder.mkdir(parents=True)
        for i, pixels in enumerate(images):
            (folder / f"{i}.png").write_bytes(encode(pixels))

    return write


def test_subfolders_make_the_classes_at_any_depth(noise, fill, folder, tmp_path):
    cats, dogs = noise(6, 6, 5, 3), noise(4, 6, 5, 3)
    fill(tmp_path / "pets/dogs/2024/may", dogs)
    fill(tmp_path / "pets/cats", cats)
    splits = [folder(heldout_fraction=0.3).load(split, SHAPE, str(tmp_path / "pets")) for split in ("train", "heldout")]
    seen = {
        (image.numpy().tobytes(), int(label)) for s in splits for image, label in zip(s.images, s.labels, strict=True)
    }
    wanted = {(image.transpose(2, 0, 1).tobytes(), label) for label, set_ in enumerate((cats, dogs)) for image in set_}
    assert [len(split) for split in splits] == [7, 3]
    assert seen == wanted


def test_a_flat_folder_has_no_labels_and_no_hidden_files(noise, fill, folder, tmp_path):
    fill(tmp_path / "flat", noise(10, 6, 5, 3))
    fill(tmp_path / "flat/.thumbnails", noise(3, 6, 5, 3))
    (tmp_path / "flat/.DS_Store").write_text("not an image")
    assert folder().load("train", SHAPE, str(tmp_path / "flat")).labels.tolist() == [-1] * 9


def test_linked_subfolders_are_followed(noise, fill, folder, tmp_path):
    fill(tmp_path / "elsewhere", noise(10, 6, 5, 3))
    (tmp_path / "links").mkdir()
    (tmp_path / "links/a").symlink_to(tmp_path / "elsewhere")
    assert folder().load("train", SHAPE, str(tmp_path / "links")).labels.tolist() == [0] * 9


def test_a_file_that_is_no_image_is_named_or_skipped(noise, fill, folder, tmp_path):
    fill(tmp_path / "mixed", noise(9, 6, 5, 3))
    (tmp_path / "mixed/notes.txt").write_text("hello")
    splits = ("train", "heldout")
    with pytest.raises(UserError, match=r"mixed/notes\.txt cannot be read.*data\.source\.skip_corrupt=true"):
        [folder().load(split, SHAPE, str(tmp_path / "mixed")) for split in splits]
    source = folder(heldout_fraction=0.5, skip_corrupt=True)
    assert sum(len(source.load(split, SHAPE, str(tmp_path / "mixed"))) for split in splits) == 9


def test_mixed_sizes_need_resize(noise, fill, folder, tmp_path):
    fill(tmp_path / "sizes", [noise(6 + i, 5 + i, 3) for i in range(10)])
    with pytest.raises(UserError, match=r"sizes/\d\.png is .* data\.source\.resize=true"):
        folder(resize=False).load("train", SHAPE, str(tmp_path / "sizes"))
    assert folder(resize=True).load("train", SHAPE, str(tmp_path / "sizes")).images.shape == (9, *SHAPE)


def test_a_new_file_is_noticed(encode, noise, fill, folder, tmp_path):
    fill(tmp_path / "grows", noise(10, 6, 5, 3))
    assert len(folder().load("train", SHAPE, str(tmp_path / "grows"))) == 9
    (tmp_path / "grows/a.png").write_bytes(encode(noise(6, 5, 3)))
    assert len(folder().load("train", SHAPE, str(tmp_path / "grows"))) == 10


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of maps")
def test_the_set_is_a_memory_map(noise, fill, folder, tmp_path):
    fill(tmp_path / "flat", noise(10, 6, 5, 3))
    images = folder().load("train", SHAPE, str(tmp_path / "flat")).images
    with open("/proc/self/maps") as maps:
        assert str(tmp_path / "cache") in maps.read()
    images[0] = 0  # private: the file does not change
    again = folder().load("train", SHAPE, str(tmp_path / "flat")).images
    assert not torch.equal(images, again)


@pytest.mark.parametrize(
    ("file", "size"),
    [("images", 10), ("labels.npy", 0), ("labels.npy", 20), ("labels.npy", 130), ("fingerprint", None)],
)
def test_a_damaged_cache_is_named(file, size, noise, fill, folder, tmp_path):
    fill(tmp_path / "flat", noise(10, 6, 5, 3))
    folder().load("train", SHAPE, str(tmp_path / "flat"))
    (damaged,) = (tmp_path / "cache").glob(f"*/{file}")
    damaged.unlink() if size is None else os.truncate(damaged, size)
    with pytest.raises(UserError, match=rf"{damaged.parent} is damaged \(.*\): delete it$"):
        folder().load("train", SHAPE, str(tmp_path / "flat"))
    shutil.rmtree(damaged.parent)
    assert len(folder().load("train", SHAPE, str(tmp_path / "flat"))) == 9


@pytest.mark.parametrize(("name", "message"), [("nowhere", "is not a folder"), ("empty", "holds no files")])
def test_a_useless_path_is_named(folder, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"data\.path=.*{name} {message}"):
        folder().load("train", SHAPE, str(tmp_path / name))
