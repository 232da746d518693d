import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
    (tmp_path / "mixed/notes.png").write_text("hello")
    splits = ("train", "heldout")
    with pytest.raises(UserError, match=r"mixed/notes\.png cannot be read.*data\.source\.skip_corrupt=true"):
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


@pytest.mark.parametrize("every", [2, 3])
def test_a_disk_that_fails_now_and_then_costs_no_image(noise, fill, folder, tmp_path, monkeypatch, every):
    """A read error is not corruption, and nothing of it is kept in the cache (lbann#123, libnfs#614)."""
    fill(tmp_path / "flat", noise(12, 6, 5, 3))
    monkeypatch.setattr("inkwash.data.reading.PAUSES", (0.0,) * 4)
    opened, calls = Image.open, []

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    def ill(*args, **options):
        calls.append(args)
        return fail() if len(calls) % every == 0 else opened(*args, **options)

    monkeypatch.setattr(Image, "open", ill)
    first = folder(skip_corrupt=True).load("train", SHAPE, str(tmp_path / "flat"))
    assert (len(first), first.facts.passed_over) == (11, {})
    monkeypatch.setattr(Image, "open", fail)
    (tmp_path / "flat/z.png").write_bytes((tmp_path / "flat/0.png").read_bytes())
    with pytest.raises(UserError, match=r"flat/.*\.png cannot be read \(Input/output error\): it was tried 5 times"):
        folder(skip_corrupt=True).load("train", SHAPE, str(tmp_path / "flat"))
    monkeypatch.setattr(Image, "open", opened)
    assert len(folder(skip_corrupt=True).load("train", SHAPE, str(tmp_path / "flat"))) == 12


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


@pytest.mark.parametrize(("name", "message"), [("nowhere", "is not a folder"), ("empty", "holds no images")])
def test_a_useless_path_is_named(folder, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{name} {message}"):
        folder().load("train", SHAPE, str(tmp_path / name))


# --- Splits, classes and what is passed over --------------------------------------------------------------------------


def labels_of(source, path, split="train"):
    """Labels of a split by the grey level of its images, all pixels of which are equal."""
    images = source.load(split, SHAPE, str(path))
    return {int(image[0, 0, 0]): int(label) for image, label in zip(images.images, images.labels, strict=True)}


@pytest.fixture
def grey(fill):
    """Fill a folder with images of grey levels, one for each."""
    return lambda path, levels: fill(path, [np.full((6, 5, 3), level, np.uint8) for level in levels])


def test_folders_named_like_splits_are_splits(grey, folder, tmp_path):
    # fastai#2336: torchvision's layout trained on classes "train" and "val".
    grey(tmp_path / "train/cat", range(8))
    grey(tmp_path / "train/dog", range(10, 18))
    grey(tmp_path / "val/dog", range(20, 23))
    grey(tmp_path / "val/emu", range(30, 33))
    grey(tmp_path / "test/cat", range(40, 43))
    source = folder()
    assert labels_of(source, tmp_path) == {i: i // 10 for i in (*range(8), *range(10, 18))}
    assert labels_of(source, tmp_path, "heldout") == {20: 1, 21: 1, 22: 1, 30: 2, 31: 2, 32: 2}
    facts = source.load("train", SHAPE, str(tmp_path)).facts
    assert facts.classes.names == ("cat", "dog", "emu")
    unused = facts.passed_over["of a split that is not used"]
    assert (unused.count, unused.first[0]) == (3, f"{tmp_path}/test/cat/0.png")
    assert facts.suspicious == ()
    whole = folder(splits="none", heldout_fraction=0)
    assert "are taken as one set" in whole.load("train", SHAPE, str(tmp_path)).facts.suspicious[0]
    taken = labels_of(whole, tmp_path)
    assert {taken[0], taken[20], taken[40]} == {0, 1, 2}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_alone_is_no_class(grey, folder, tmp_path, split):
    for name in ("cat", "dog"):
        grey(tmp_path / "set" / split / name, range(4))
        grey(tmp_path / "train" / name, range(10, 14))
    (tmp_path / "set/annotations").mkdir()
    (tmp_path / "set/annotations/all.json").write_text("{}")
    facts = facts_of(folder(), tmp_path / "set")
    assert (facts.origin.partition(",")[0], facts.classes.names) == (
        f"data.path={tmp_path}/set/{split}",
        ("cat", "dog"),
    )
    assert facts_of(folder(splits="none"), tmp_path / "set").classes.names == (split,)
    source = folder(heldout_path=str(tmp_path / "set"))
    assert source.labels(str(tmp_path / "train"))[1].names == ("cat", "dog")


def test_a_list_beside_a_split_alone_counts(grey, folder, tmp_path):
    grey(tmp_path / "set/test/a", range(3))
    grey(tmp_path / "train/a", range(10, 13))
    for place in ("set/test", "train"):
        labels = [[f"{place.partition('/')[2]}/a/{i}.png".lstrip("/"), 1] for i in range(3)]
        (tmp_path / place.partition("/")[0] / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert facts_of(folder(heldout_fraction=0), tmp_path / "set").suspicious == ()
    source = folder(heldout_path=str(tmp_path / "set"))
    assert set(labels_of(source, tmp_path / "train", "heldout").values()) == {1}
    assert set(labels_of(folder(heldout_fraction=0), tmp_path / "set").values()) == {1}


def test_classes_called_train_stay_classes(grey, folder, tmp_path):
    for name in ("car", "train", "boat"):
        grey(tmp_path / name, range(4))
    assert folder().load("train", SHAPE, str(tmp_path)).facts.classes.names == ("boat", "car", "train")


def test_images_beside_split_folders_are_refused(grey, folder, tmp_path):
    grey(tmp_path / "train", range(4))
    grey(tmp_path / "test", range(4))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/all.json").write_text("{}")
    assert len(folder().load("train", SHAPE, str(tmp_path))) == 4
    grey(tmp_path / "more", range(2))
    with pytest.raises(UserError, match=r"images in more, whose name tells no split.*data\.source\.splits=none"):
        folder().load("train", SHAPE, str(tmp_path))


def test_a_heldout_folder_shares_the_classes(grey, folder, tmp_path):
    for place, names in (("a", "xy"), ("b", "yz")):
        for name in names:
            grey(tmp_path / place / name, [ord(name)])
    source = folder(heldout_path=str(tmp_path / "b"))
    assert labels_of(source, tmp_path / "a") == {ord("x"): 0, ord("y"): 1}
    assert labels_of(source, tmp_path / "a", "heldout") == {ord("y"): 1, ord("z"): 2}
    with pytest.raises(UserError, match="lie within each other"):
        folder(heldout_path=str(tmp_path / "b/y")).load("train", SHAPE, str(tmp_path / "b"))


@pytest.mark.parametrize(("order", "names"), [("natural", "0 1 2 10"), ("alphabetical", "0 1 10 2")])
def test_classes_are_in_natural_order(grey, folder, tmp_path, order, names):
    # vision#714: folder "10" was label 2.
    for number in (0, 1, 2, 10):
        grey(tmp_path / str(number), [number])
    images = folder(heldout_fraction=0, class_order=order).load("train", SHAPE, str(tmp_path))
    assert " ".join(images.facts.classes.names) == names
    if order == "natural":
        assert labels_of(folder(heldout_fraction=0), tmp_path) == {0: 0, 1: 1, 2: 2, 10: 3}


@pytest.mark.parametrize(
    "labels", ["[[{0!r}, 4], [{1!r}, 2]]", "{{{0!r}: 4, {1!r}: 2}}", "[[{0!r}, [0,0,0,0,1]], [{1!r}, [0,0,1]]]"]
)
def test_dataset_json_has_the_labels(grey, folder, tmp_path, labels):
    # stylegan2-ada-pytorch#18: EDM's and StyleGAN's folders are shards, and dataset.json has the classes.
    grey(tmp_path / "00000", [0])
    grey(tmp_path / "00001", [10])
    grey(tmp_path / "00002", [20])
    pairs = labels.format("00000/0.png", "00001/0.png").replace("'", '"')
    (tmp_path / "dataset.json").write_text(f'{{"labels": {pairs}}}')
    assert labels_of(folder(heldout_fraction=0), tmp_path) == {0: 4, 10: 2, 20: -1}
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    assert set(labels_of(folder(heldout_fraction=0), tmp_path).values()) == {-1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"does not hold \{\"labels\""),
        ("[1]", r"does not hold"),
        ('{"labels": [[0, 1], [1, 0]]}', r"does not hold"),
        ("{", r"does not hold"),
        ('{"labels": [["a/0.png", 1.5]]}', r"label of 0\.png is 1\.5, not a class 0, 1, \.\.\."),
        ('{"labels": [["a/0.png", [0.2, 0.8]]]}', r"label of 0\.png is \[0\.2, 0\.8\], not a class"),
        ('{"labels": [["a/0.png", [[1], 0]]]}', r"label of 0\.png is \[\[1\], 0\], not a class"),
        ('{"labels": [["a/0.png", Infinity]]}', r"label of 0\.png is inf, not a class"),
        ('{"labels": [["a/0.png", NaN]]}', r"label of 0\.png is nan, not a class"),
        (f'{{"labels": [["a/0.png", {10**30}]]}}', r"label of 0\.png is 10*, not a class"),
        (f'{{"labels": [["a/0.png", {"1" * 5000}]]}}', r"does not hold"),
    ],
)
def test_a_useless_dataset_json_is_named(grey, folder, tmp_path, content, message):
    grey(tmp_path / "a", [0, 1])
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=rf"dataset\.json.*{message}"):
        folder().load("train", SHAPE, str(tmp_path))


def test_a_real_path_is_visited_once(grey, folder, tmp_path):
    # vigiles-openwrt#5: a link to the folder itself was followed 40 levels deep.
    grey(tmp_path / "b", range(3))
    grey(tmp_path.parent / f"{tmp_path.name}-pool", [7, 8])
    (tmp_path / "b/loop").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "b")  # comes first by name, but b needs no link
    (tmp_path / "c").symlink_to(tmp_path.parent / f"{tmp_path.name}-pool")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/7.png").symlink_to(tmp_path / "c/0.png")
    images = folder(heldout_fraction=0).load("train", SHAPE, str(tmp_path))
    assert images.facts.classes.names == ("b", "c")
    assert labels_of(folder(heldout_fraction=0), tmp_path) == {0: 0, 1: 0, 2: 0, 7: 1, 8: 1}
    assert images.facts.passed_over["links to what is there already"].count == 3


def test_files_that_are_not_used_are_told(grey, folder, tmp_path):
    grey(tmp_path / "flat", range(5))
    for name in ("notes.txt", "Thumbs.db", "photo.heic", ".DS_Store", "._0.png"):
        (tmp_path / "flat" / name).write_bytes(b"x")
    (tmp_path / "flat/0.png").rename(tmp_path / "flat/without_suffix")
    facts = folder(heldout_fraction=0).load("train", SHAPE, str(tmp_path / "flat")).facts
    assert {reason: str(tally) for reason, tally in facts.passed_over.items()} == {
        "hidden": "2 (.DS_Store, ._0.png)",
        "not images": "2 (Thumbs.db, notes.txt)",
        "of a format that is not read": "1 (photo.heic)",
    }
    assert "photo.heic" in facts.suspicious[0]
    assert len(folder(heldout_fraction=0).load("train", SHAPE, str(tmp_path / "flat"))) == 5


def test_one_image_trains_and_nothing_is_held_out(grey, folder, tmp_path):
    grey(tmp_path / "one", [3])
    assert [len(folder().load(split, SHAPE, str(tmp_path / "one"))) for split in ("train", "heldout")] == [1, 0]


def test_sizes_before_scaling_are_kept(noise, fill, folder, tmp_path):
    fill(tmp_path / "sizes", [noise(6 + i, 9 - i, 3) for i in range(4)])
    images = folder(heldout_fraction=0).load("train", SHAPE, str(tmp_path / "sizes"))
    assert images.facts.sizes == [[6, 6], [9, 9]]


def test_a_folder_that_cannot_be_listed_for_a_moment_is_listed_again(noise, fill, folder, tmp_path, monkeypatch):
    """A network file system answers so once its server is back (ESTALE)."""
    for name in ("a", "b"):
        fill(tmp_path / "set" / name, noise(2, 6, 5, 3))
    scandir, calls = os.scandir, []

    def flaky(path="."):
        calls.append(path)
        if len(calls) % 2:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return scandir(path)

    monkeypatch.setattr("inkwash.files.WAITS", (0.0, 0.0))
    monkeypatch.setattr("inkwash.data.walk.os.scandir", flaky)
    splits = [folder(heldout_fraction=0.5).load(split, SHAPE, str(tmp_path / "set")) for split in ("train", "heldout")]
    assert sorted(label for split in splits for label in split.labels.tolist()) == [0, 0, 1, 1]
    assert len(calls) >= 6


# --- What looks like something else -----------------------------------------------------------------------------------


def facts_of(source, path, split="train"):
    return source.load(split, SHAPE, str(path)).facts


def test_a_dataset_json_that_lists_other_files_is_refused(grey, folder, tmp_path):
    path = tmp_path / "set"  # beside the cache
    grey(path / "00000", range(4))
    listed = [[f"x/{i}.png", 1] for i in range(4)]
    (path / "dataset.json").write_text(json.dumps({"labels": listed}))
    with pytest.raises(
        UserError, match=r"dataset\.json lists 4 files, none of which is in .*x/0\.png first, but there"
    ):
        folder().load("train", SHAPE, str(path))
    listed += [["./00000/2.png", 5]]
    (path / "dataset.json").write_text(json.dumps({"labels": listed}))
    assert labels_of(folder(heldout_fraction=0), path) == {0: -1, 1: -1, 2: 5, 3: -1}
    assert "lists 5 files, 4 of which are not in" in facts_of(folder(heldout_fraction=0), path).suspicious[0]


def test_a_dataset_json_beside_the_splits_has_the_labels_of_all(grey, folder, tmp_path):
    grey(tmp_path / "train/00000", [0, 1])
    grey(tmp_path / "train/00001", [2])
    grey(tmp_path / "val/00000", [10])
    names = {"train/00000/0.png": 3, "train/00000/1.png": 4, "train/00001/0.png": 5, "val/00000/0.png": 4}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [*names.items()]}))
    assert labels_of(folder(), tmp_path) == {0: 3, 1: 4, 2: 5}
    assert labels_of(folder(), tmp_path, "heldout") == {10: 4}
    assert facts_of(folder(), tmp_path).suspicious == ()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["00000/0.png", 3]]}))
    with pytest.raises(UserError, match=r"lists 1 files, none of which is in .*/train .*there is train/00000/0\.png"):
        folder().load("train", SHAPE, str(tmp_path))


@pytest.mark.parametrize("label", ["NaN", "Infinity", "-Infinity", str(10**30), "[[0]]", "[NaN]", "1e12", "true", "{}"])
def test_a_label_that_is_no_class_is_told(grey, folder, tmp_path, label):
    grey(tmp_path / "a", [0, 1])
    (tmp_path / "dataset.json").write_text(f'{{"labels": [["a/0.png", {label}]]}}')
    with pytest.raises(UserError, match=r"dataset\.json: the label of 0\.png is .*, not a class 0, 1, \.\.\.: correct"):
        folder().load("train", SHAPE, str(tmp_path))


@pytest.mark.parametrize("other", ["unlabeled", "predict", "anything"])
def test_a_split_of_unknown_spelling_is_refused(grey, folder, tmp_path, other):
    for name in ("train", other):
        grey(tmp_path / name / "a", range(4))
        grey(tmp_path / name / "b", range(10, 14))
    with pytest.raises(UserError, match=r"same subfolders, a, b, .*data\.path=.*/train .*data\.source\.splits=none"):
        folder().load("train", SHAPE, str(tmp_path))
    assert facts_of(folder(splits="none"), tmp_path).classes.names == tuple(sorted(("train", other)))


@pytest.mark.parametrize(
    ("train", "other"),
    [("train", "validate"), ("train_set", "holdout"), ("trainval", "test"), ("train", "held_out")],
)
def test_more_names_of_splits(grey, folder, tmp_path, train, other):
    for name in (train, other):
        grey(tmp_path / name / "a", range(4))
        grey(tmp_path / name / "b", range(10, 14))
    assert [len(folder().load(split, SHAPE, str(tmp_path))) for split in ("train", "heldout")] == [8, 8]
    assert facts_of(folder(), tmp_path).classes.names == ("a", "b")


def test_classes_that_may_be_splits_are_suspicious(grey, folder, tmp_path):
    for name in ("train", "unlabeled"):
        grey(tmp_path / "one" / name, range(4))
    assert "train in" in facts_of(folder(), tmp_path / "one").suspicious[0]
    assert not any("class" in sentence for sentence in facts_of(folder(splits="none"), tmp_path / "one").suspicious)
    for name in ("first", "second"):
        grey(tmp_path / "two" / name / "a", range(4))
        grey(tmp_path / "two" / name / "b", range(4))
    assert "all have the same subfolders" in facts_of(folder(), tmp_path / "two").suspicious[0]
    for name in ("cat", "dog"):  # as Tiny ImageNet has it
        grey(tmp_path / "three" / name / "images", range(4))
    assert facts_of(folder(), tmp_path / "three").suspicious == ()


def test_thumbnails_and_deleted_images_are_passed_over(grey, folder, tmp_path):
    strangers = ("@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle", "cat/@eaDir")
    grey(tmp_path / "cat", range(4))
    for name in (*strangers, ".ipynb_checkpoints"):
        grey(tmp_path / name, range(4))
    facts = facts_of(folder(heldout_fraction=0), tmp_path)
    assert facts.classes.names == ("cat",)
    assert [tally.count for tally in facts.passed_over.values()] == [len(strangers), 1]
    assert "thumbnails" in next(iter(facts.passed_over))


@pytest.mark.parametrize("link", ["test/a", "test/a/0.png"])
def test_a_real_file_in_both_splits_is_refused(grey, folder, tmp_path, link):
    grey(tmp_path / "train/a", range(4))
    grey(tmp_path / "test/b", range(4))
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / link.replace("test", "train"))
    number = 1 if link.endswith("png") else 4
    with pytest.raises(
        UserError, match=rf"^{number} images are in both splits by links, .*train/a/0\.png and .*test/a"
    ):
        folder().load("train", SHAPE, str(tmp_path))


def test_pages_and_frames_are_told(noise, folder, tmp_path):
    path = tmp_path / "set"  # beside the cache
    path.mkdir()
    pages = [Image.fromarray(pixels) for pixels in noise(20, 6, 5, 3)]
    pages[0].save(path / "a.png")
    pages[0].save(path / "b.tif", save_all=True, append_images=pages[1:])
    pages[0].save(path / "c.gif", save_all=True, append_images=pages[1:])
    for _ in range(2):  # then from the cache
        images = folder(heldout_fraction=0).load("train", SHAPE, str(path))
        (sentence,) = images.facts.suspicious
        assert (len(images), "b.tif first with 20, of which the first" in sentence) == (3, True)


def test_an_address_is_told(folder):
    address, message = (
        "https://example.org/set.zip",
        "=.* is not a folder: it is an address, not a path: fetch the files",
    )
    with pytest.raises(UserError, match=f"^data.path{message}"):
        folder().load("train", SHAPE, address)
    with pytest.raises(UserError, match=f"^data.source.heldout_path{message}"):
        folder(heldout_path=address).load("train", SHAPE, "/")


def test_accents_are_one_spelling_in_both_splits(grey, folder, tmp_path):
    """macOS stores a letter and its accent apart; the labels are those of the training's spelling."""
    apart, one = "cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    for place, mine, other in (("a", apart, one), ("b", one, apart)):
        grey(tmp_path / place / "train" / mine, [1])
        grey(tmp_path / place / "train/cafz", [2])
        grey(tmp_path / place / "val" / other, [3])
        source = folder()
        names = facts_of(source, tmp_path / place).classes.names
        assert sorted(names) == sorted((mine, "cafz"))
        assert labels_of(source, tmp_path / place, "heldout") == {3: names.index(mine)}
    assert names == ("cafz", one)


def test_a_dataset_json_above_the_folder_is_told(grey, folder, tmp_path):
    for name in ("train", "val"):
        grey(tmp_path / name / "00000", range(4))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["train/00000/0.png", 1]]}))
    facts = facts_of(folder(heldout_path=str(tmp_path / "val")), tmp_path / "train")
    assert facts.suspicious[0].startswith(f"{tmp_path}/dataset.json lies above {tmp_path}/train, and is not read")


def test_numbers_of_dataset_json_beside_named_folders_are_refused(grey, folder, tmp_path):
    for i, name in enumerate(("train/a", "train/b", "val/cat", "val/dog")):
        grey(tmp_path / name, [i])
    path = tmp_path / "train/dataset.json"
    path.write_text('{"labels": [["a/0.png", 1], ["b/0.png", 0]]}')
    with pytest.raises(UserError, match=r"train has .* numbers, and .*val has .* names, such as cat: .*dataset\.json"):
        folder().load("train", SHAPE, str(tmp_path))
    for i, name in enumerate(("cat", "dog")):  # folders that are the same numbers
        (tmp_path / "val" / name).rename(tmp_path / f"val/{i}")
    assert folder().load("train", SHAPE, str(tmp_path)).labels.tolist() == [1, 0]
    path.write_text('{"labels": null}')
    assert folder().load("heldout", SHAPE, str(tmp_path)).labels.tolist() == [0, 1]
