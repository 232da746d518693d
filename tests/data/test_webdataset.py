import errno
import gzip
import io
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
        ("cls", b"{}", r"^the label of 000000 in .*a\.tar is not a number or a name: set data\.source\.label"),
        ("kind", b'{"kind": ["cat"]}', r"is not kind with a number"),
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


# --- As people have them ----------------------------------------------------------------------------------------------


@pytest.fixture
def pack(tmp_path):
    """pack({name: content}): a tar file."""

    def write(files, name="a.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            for title, content in files.items():
                member = tarfile.TarInfo(title)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return tmp_path / name

    return write


def samples(images, **labels):
    """Files of images 0, 1, ... and of their labels, by extension: cls=[b"0", b"1"]."""
    files = {}
    for i, image in enumerate(images):
        files[f"{i:03}.png"] = image
        files |= {f"{i:03}.{extension.replace('_', '.')}": values[i] for extension, values in labels.items()}
    return files


@pytest.fixture
def images(encode, noise):
    return [encode(pixels) for pixels in noise(4, 6, 5, 3)]


def test_a_tar_made_on_a_mac(images, pack, stream):
    """AppleDouble files between those of a sample (openneuro#2520, mvt#922)."""
    files = {}
    for name, content in samples(images, cls=[b"0", b"1", b"0", b"1"]).items():
        files |= {f"./._{name}": b"AppleDouble", f"./{name}": content}
    split = stream(pack(files))
    assert split.labels.tolist() == [0, 1, 0, 1]
    assert split.__getitems__([0, 1, 2, 3])[0].shape == (4, *SHAPE)
    assert split.facts.passed_over["hidden, or of the operating system"].count == 8


@pytest.mark.parametrize("order", ["images first", "folders apart", "key twice"])
def test_files_of_a_sample_that_do_not_follow_each_other_are_an_error(images, pack, stream, order):
    """As tar packs a folder without --sort=name (webdataset#11, webdataset#140, webdataset#407, ray#63374)."""
    files = samples(images, cls=[b"0", b"1", b"0", b"1"])
    if order == "images first":
        files = dict(sorted(files.items(), key=lambda item: item[0].endswith("cls")))
    if order == "folders apart":
        files = {f"{'labels' if name.endswith('cls') else 'images'}/{name}": files[name] for name in files}
    if order == "key twice":
        files["000.jpg"] = images[0]
    says = {
        "images first": r"the files of 000 in .*a\.tar do not follow each other: .*`tar --sort=name -cf a\.tar FOLDER`",
        "folders apart": r"a\.tar holds 4 labels without an image, labels/000 first, and images without a label, im",
        "key twice": r"the files of 000 in .*a\.tar do not follow each other",
    }[order]
    with pytest.raises(UserError, match=says):
        stream(pack(files))
    if order == "images first":
        assert len(stream(pack(files), label=None)) == 4


def test_the_same_file_twice_is_an_error(images, tmp_path, pack, stream):
    """As `tar -r` leaves a file that it adds again (webdataset#157)."""
    with tarfile.open(pack({"0.png": images[0]}), "a") as tar:
        member = tarfile.TarInfo("0.png")
        member.size = len(images[1])
        tar.addfile(member, io.BytesIO(images[1]))
    with pytest.raises(UserError, match=r"a\.tar holds 0\.png twice: pack it again"):
        stream(tmp_path / "a.tar")


@pytest.mark.parametrize("extension", ["cls", "cls_txt", "class", "class_txt", "label", "label_txt", "CLS"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_numbers_and_names_of_labels(images, pack, stream, extension, end):
    numbers = stream(pack(samples(images, **{extension: [b"3" + end, b"0" + end, b"10" + end, b"-1" + end]})))
    assert (numbers.labels.tolist(), numbers.facts.classes.names) == ([3, 0, 10, -1], ())
    words = [word.encode() + end for word in ("dog", "cat", "tabby cat", "dog")]
    names = stream(pack(samples(images, **{extension: words})))
    assert (names.labels.tolist(), names.facts.classes.names) == ([1, 0, 2, 1], ("cat", "dog", "tabby cat"))


@pytest.mark.parametrize("key", ["label", "class_id", "class_name", "target", "category"])
def test_labels_of_json_files_are_found(images, pack, stream, key):
    for values, labels, names in (
        ([3, 1.0, "2", None], [3, 1, 2, -1], ()), (["b", "a", "b", "a"], [1, 0, 1, 0], ("a", "b")),
    ):  # fmt: skip
        notes = [json.dumps({"caption": "x", key: value}).encode() for value in values]
        split = stream(pack(samples(images, json=notes)))
        assert (split.labels.tolist(), split.facts.classes.names) == (labels, names)


def test_a_key_that_is_null_everywhere_leaves_the_label_to_another_one(images, pack, stream):
    notes = [json.dumps({"label": None, "class": i}).encode() for i in (2, 0, 1, None)]
    assert stream(pack(samples(images, json=notes))).labels.tolist() == [2, 0, 1, -1]
    notes[0] = b'{"label": "cat", "class": 2}'  # null means that there is none: names and numbers are not mixed
    assert stream(pack(samples(images, json=notes))).labels.tolist() == [0, -1, -1, -1]
    assert stream(pack(samples(images, json=[b'{"label": null, "class": [1]}'] * 4))).labels.tolist() == [-1] * 4


def test_captions_and_notes_are_no_labels(images, pack, stream):
    """img2dataset's layout."""
    files = samples(images, txt=[b"a cat"] * 4, json=[b'{"caption": "a cat", "key": "0", "width": 5}'] * 4)
    assert stream(pack(files)).labels.tolist() == [-1] * 4
    assert stream(pack(samples(images, json=[b"[1]", b"{", b"5", b'"label"']))).labels.tolist() == [-1] * 4


def test_an_extension_of_ones_own_holds_the_label(images, pack, stream):
    files = samples(images, txt=[b"cat", b"dog", b"cat", b"dog"], index=[b"5"] * 4)
    assert stream(pack(files), label="txt").facts.classes.names == ("cat", "dog")
    assert stream(pack(files), label="index").labels.tolist() == [5] * 4
    with pytest.raises(UserError, match=r"no image in .*a\.tar has a label kind, neither a file of that extension nor"):
        stream(pack(files), label="kind")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([b"1", b"cat", b"1", b"1"], r"labels that are numbers, 1, and others that are names, cat: make them alike"),
        ([b"a\nb"] * 4, r"the label of 000 in .* is not a number or a name"),
        ([b"\xff\xfe"] * 4, r"is not a number or a name"),
        ([b"x" * 300] * 4, r"is not a number or a name"),
        ([b"1" * 100_000 + b"x"] * 4, r"is not a number or a name"),
    ],
)
def test_labels_that_are_no_classes_are_named(images, pack, stream, labels, message):
    with pytest.raises(UserError, match=message):
        stream(pack(samples(images, cls=labels)))


def test_names_like_numbers_are_names(images, pack, stream):
    split = stream(pack(samples(images, cls=[b"1_0", b"nan", b"n01440764", b"inf"])))
    assert split.facts.classes.names == ("1_0", "inf", "n01440764", "nan")


def test_classes_of_all_shards_are_joined(images, pack, stream, tmp_path):
    pack(samples(images, cls=[b"c", b"a", b"c", b"a"]), "0.tar")
    pack(samples(images, cls=[b"b"] * 4), "1.tar")
    split = stream(tmp_path)
    assert (split.labels.tolist(), split.facts.classes.names) == ([2, 0, 2, 0, 1, 1, 1, 1], ("a", "b", "c"))


def test_alternatives_of_extensions(images, pack, stream):
    files = samples(images) | {"003.jpg": images[0]}
    assert len(stream(pack(files), image="jpg;png")) == 4
    split = stream(pack(files), image="JPG; PNG")
    assert torch.equal(*(split.__getitems__([i])[0] for i in (0, 3)))
    assert len(stream(pack(files), image="jpg")) == 1


def test_an_image_may_have_a_longer_extension_if_it_is_alone(images, pack, stream):
    files = {f"{i}.image.png": image for i, image in enumerate(images)}
    assert len(stream(pack(files))) == 4
    assert len(stream(pack(files), image="image.png")) == 4


def test_dots_in_names_are_told(images, pack, stream):
    """By WebDataset's rule photo.1.png and photo.2.png are one sample (webdataset#237, datasets#6880)."""
    files = {f"photo.{i}.png": image for i, image in enumerate(images)}
    with pytest.raises(UserError, match=r"photo in .*a\.tar has several images, \['photo.0.png', .*first dot"):
        stream(pack(files))


def test_what_is_not_used_is_counted(images, pack, stream):
    files = samples(images, cls=[b"0"] * 4) | {"README.md": b"hello", "x/000.heic": b"x", "004.cls": b"1"}
    passed_over = stream(pack(files)).facts.passed_over
    assert {reason: tally.first for reason, tally in passed_over.items()} == {
        "without an image": ["README.md", "x/000.heic"], "labels without an image": ["004"],
    }  # fmt: skip


def test_linked_images_are_read(images, pack, stream):
    path = pack(samples(images, cls=[b"0"] * 4))
    with tarfile.open(path, "a") as tar:
        for name, target in (("900.png", "001.png"), ("901.png", "000.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            tar.addfile(member)
    pixels = stream(path).__getitems__(list(range(6)))[0]
    assert torch.equal(pixels[4:], pixels[[1, 0]])


def test_an_ill_disk_while_indexing_is_tried_again(write_tar, noise, stream, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar", noise(4, 6, 5, 3), range(4))
    monkeypatch.setattr("inkwash.data.reading.PAUSES", (0.0, 0.0))
    read, calls = tarfile.TarFile.next, []

    def sometimes(self):
        calls.append(self)
        if len(calls) in (3, 9):
            raise OSError(errno.EIO, "Input/output error")
        return read(self)

    monkeypatch.setattr(tarfile.TarFile, "next", sometimes)
    assert stream(path).labels.tolist() == [0, 1, 2, 3]


def test_numbers_in_one_shard_and_names_in_another_are_refused(images, pack, stream, tmp_path):
    pack(samples(images, cls=[b"0", b"1", b"2", b"0"]), "0.tar")
    pack(samples(images, cls=[b"cat", b"dog", b"cat", b"dog"]), "1.tar")
    with pytest.raises(UserError, match=r"0\.tar has .* numbers, and .*1\.tar has .* names, such as cat: .*label=null"):
        stream(tmp_path)
    assert len(stream(tmp_path, label=None)) == 8
    pack(samples(images), "0.tar")
    assert stream(tmp_path).labels.tolist() == [-1] * 4 + [0, 1, 0, 1]
