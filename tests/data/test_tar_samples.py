"""Tar files as people make them by hand and with other tools: what is a label, and what is told."""

import io
import tarfile

import pytest
from PIL import Image

from inkwash.data.module import ImageDataModule
from inkwash.data.report import report_of
from inkwash.data.webdataset import WebDataset
from inkwash.errors import UserError


def image(level, kind="PNG", frames=1):
    file = io.BytesIO()
    first, *others = (Image.new("L", (4, 4), level + i) for i in range(frames))
    first.save(file, kind, **({"save_all": True, "append_images": others} if others else {}))
    return file.getvalue()


@pytest.fixture
def report(tmp_path):
    """Write files, [(name, content)], to a tar file; return its report."""

    def write(files, **options):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name, content in files:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        source = WebDataset(cache_dir=str(tmp_path / "cache"), **{"heldout_fraction": 0} | options)
        return report_of(ImageDataModule(source, (1, 4, 4), None, 2, str(tmp_path / "a.tar")))

    return write


@pytest.mark.parametrize(
    ("names", "contents"),
    [
        (("v2.png", "v2.cls"), (b"0", b"1")),
        (("0.png", "0.json"), (b'{"label": 0}', b'{"label": 1}')),
        (("png", "cls"), (b"\xef\xbb\xbf0\r\n", b"\xef\xbb\xbf1\r\n")),
        (("png", "cls"), (b"0.0", b"1.")),
    ],
)
def test_labels_of_keys_with_dots_of_windows_and_of_tables(report, names, contents):
    """webdataset/webdataset#237: dots in names; the labels were lost where an image was found."""
    png, label = names
    files = [(f"{i:03d}.{name}", data) for i in range(20) for name, data in ((png, image(i)), (label, contents[i % 2]))]
    told = report(files)
    assert (told.train.counts, told.train.unlabelled, told.train.passed_over) == ([10, 10], 0, {})


def test_of_several_labels_none_is_taken_and_all_are_told(report):
    labels = (("a.cls", b"1"), ("b.cls", b"2"))
    files = [(f"{i}.{name}", data) for i in range(3) for name, data in (("png", image(i)), *labels)]
    told = report(files)
    assert told.train.unlabelled == 3
    assert told.train.passed_over["files beside images that are not read"]["count"] == 6


def test_files_beside_images_are_counted(report):
    files = [
        (f"{i}.{name}", data) for i in range(5) for name, data in (("png", image(i)), ("pyd", b"x"), ("txt", b"y"))
    ]
    told = report(files)
    assert told.train.passed_over["files beside images that are not read"]["count"] == 10
    assert report(files, label="txt").train.passed_over["files beside images that are not read"]["count"] == 5


def test_folders_in_a_tar_file_are_told(report):
    files = [(f"{'cat' if i < 6 else 'dog'}/{i}.png", image(20 * i)) for i in range(12)]
    (sentence,) = report(files).suspicious
    assert sentence.startswith(
        "images lie in the folders cat and dog of a tar file, and have no labels: if the folders"
    )
    assert report(files, label=None).suspicious == []
    labelled = [file for name, data in files for file in ((name, data), (name.replace("png", "cls"), b"1"))]
    assert not any("folders" in text for text in report(labelled).suspicious)


def test_splits_within_a_tar_file_are_told(report):
    files = [(f"{'train' if i < 6 else 'val'}/{i}.png", image(20 * i)) for i in range(12)]
    assert report(files).suspicious[0].startswith("names in data.path tell train and validation, but all are taken as")


def test_pages_of_streamed_images_are_told_once(report):
    files = [(f"{i}.gif", image(i, "GIF", frames=3)) for i in range(20)]
    told = [text for text in report(files, heldout_fraction=0.5).suspicious if "pages" in text]
    assert len(told) == 1
    assert told[0].startswith("there are files with several pages or frames, ")


def test_a_file_without_images_says_what_it_has(report):
    with pytest.raises(
        UserError, match=r"holds no images in its 1 files: give others \(without an image: 2 \(0\.npy, "
    ):
        report([("0.npy", b"x"), ("1.npy", b"x")])
    with pytest.raises(UserError, match=r"holds no images in its 1 files: give others \(empty\)$"):
        report([])
