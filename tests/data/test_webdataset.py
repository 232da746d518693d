import gzip
import json
import tarfile
from pathlib import Path

import pytest
import torch

from inkwash.data.webdataset import WebDataset
from inkwash.errors import UserError

SHAPE = (3, 6, 5)


@pytest.fixture
def stream(tmp_path):
    """stream(path): all images in it."""

    def load(path, **options):
        source = WebDataset(cache_dir=str(tmp_path / "cache"), heldout_fraction=0, **options)
        return source.load("train", SHAPE, str(path))

    return load


def test_labels_come_from_cls_or_from_json_or_not_at_all(noise, write_tar, stream, tmp_path):
    notes = [json.dumps({"kind": i + 5, "text": "a cat"}).encode() for i in range(4)]
    path = write_tar(tmp_path / "a.tar", noise(4, 6, 5, 3), [3, 1, 0, 2], json=notes)
    assert stream(path).labels.tolist() == [3, 1, 0, 2]
    assert stream(path, label="kind").labels.tolist() == [5, 6, 7, 8]
    assert stream(path, label=None).labels.tolist() == [-1] * 4
    assert stream(write_tar(tmp_path / "b.tar", noise(4, 6, 5, 3))).labels.tolist() == [-1] * 4


@pytest.mark.parametrize(
    ("label", "notes", "message"),
    [
        ("cls", b"{}", r"^the label of 000000 in .*a\.tar is not a number: set data\.source\.label"),
        ("kind", b'{"kind": "cat"}', r"is not kind with a number"),
        ("kind", b'{"kinds": 1}', r"is not kind with a number"),
        ("kind", b"[1]", r"is not kind with a number"),
        ("kind", b"cat", r"is not kind with a number"),
    ],
)
def test_labels_that_are_no_numbers_are_named(noise, write_tar, stream, tmp_path, label, notes, message):
    extension = "cls" if label == "cls" else "json"
    path = write_tar(tmp_path / "a.tar", noise(1, 6, 5, 3), **{extension: [notes]})
    with pytest.raises(UserError, match=message):
        stream(path, label=label)


def test_other_files_of_a_sample_are_ignored_but_second_images(noise, encode, write_tar, stream, tmp_path):
    pixels = noise(4, 6, 5, 3)
    masks = [encode(image[..., 0]) for image in pixels]
    others = {"txt": [b"a cat"] * 4, "mask.png": masks}
    images = stream(write_tar(tmp_path / "a.tar", pixels, range(4), **others))
    assert torch.equal(images.__getitems__([0, 1, 2, 3])[0], torch.from_numpy(pixels).permute(0, 3, 1, 2))
    path = write_tar(tmp_path / "b.tar", pixels, range(4), PPM=masks)
    with pytest.raises(UserError, match=r"000000 in .*b\.tar has several images.*data\.source\.image=\.\.\."):
        stream(path)
    assert len(stream(path, image="png")) == 4
    with pytest.raises(UserError, match=r"holds no images in its 1 files"):
        stream(path, image="webp")


def test_names_may_be_long_and_in_folders(noise, encode, stream, tmp_path):
    folder = tmp_path / ("class." + "n" * 90) / ("x" * 90)
    folder.mkdir(parents=True)
    pixels = noise(2, 6, 5, 3)
    for i, image in enumerate(pixels):
        (folder / f"{i}.png").write_bytes(encode(image))
        (folder / f"{i}.cls").write_text(f"{i + 7}\n")
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / f"{kind}.tar", "w", format=kind) as tar:
            for file in sorted(folder.iterdir()):
                tar.add(file, str(file.relative_to(tmp_path)))
        images = stream(tmp_path / f"{kind}.tar")
        found, labels = images.__getitems__([0, 1])
        assert labels.tolist() == [7, 8]
        assert torch.equal(found, torch.from_numpy(pixels).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("ruin", "message"),
    [
        (lambda content: content[: len(content) // 2], r"b\.tar is damaged or cut short"),
        (lambda content: content[:3072], r"b\.tar is damaged or cut short"),  # between two members
        (lambda content: content[:3100], r"b\.tar is damaged or cut short"),  # within a header
        (lambda content: content[:3072] + b"x" * 512 + content[3584:], r"b\.tar is damaged or cut short at byte 3072"),
        (lambda content: b"hello" * 1000, r"b\.tar cannot be read as a tar file"),
        (lambda content: b"", r"b\.tar cannot be read as a tar file"),
        (gzip.compress, r"b\.tar cannot be read as a tar file without compression: unpack"),
    ],
)
def test_a_damaged_shard_is_named_before_training(noise, write_tar, stream, tmp_path, ruin, message):
    write_tar(tmp_path / "a.tar", noise(10, 6, 5, 3), range(10))
    path = Path(write_tar(tmp_path / "b.tar", noise(10, 6, 5, 3), range(10)))
    path.write_bytes(ruin(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        stream(tmp_path)
    assert "\n" not in str(error.value)


def test_a_shard_that_goes_away_or_is_cut_short_later_is_named(noise, write_tar, stream, tmp_path):
    path = Path(write_tar(tmp_path / "a.tar", noise(10, 6, 5, 3), range(10)))
    images = stream(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"^.*a\.tar was cut short after the job began"):
        images.__getitems__([9])
    path.unlink()
    with pytest.raises(UserError, match=r"^.*a\.tar cannot be read \(No such file or directory\)"):
        images.__getitems__([9])


def test_a_negative_size_makes_no_endless_loop(stream, tmp_path):
    member = tarfile.TarInfo("a.png")
    member.size = -1024
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) * 2 + bytes(1024))
    with pytest.raises(UserError, match=r"a\.tar is damaged or cut short"):
        stream(tmp_path / "a.tar")


@pytest.mark.parametrize("number", [b"1" * 30, b"1" * 5000, b"1.5", b""])
def test_labels_that_no_tensor_can_hold_are_named(noise, write_tar, stream, tmp_path, number):
    path = write_tar(tmp_path / "a.tar", noise(1, 6, 5, 3), cls=[number])
    with pytest.raises(UserError, match=r"^the label of 000000 in .* is not a number"):
        stream(path)
