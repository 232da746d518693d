import pytest

from inkwash.data.folder import Folder
from inkwash.data.module import ImageDataModule
from inkwash.data.report import lines, report_of


@pytest.fixture
def told(encode, tmp_path):
    """Write images under their names to a folder; return its report."""

    def write(images, shape=(3, 4, 4), **options):
        for name, pixels in images.items():
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_bytes(encode(pixels))
        source = Folder(cache_dir=str(tmp_path / "cache"), **options)
        return report_of(ImageDataModule(source, shape, None, 2, str(tmp_path / "set")))

    return write


def test_copies_under_other_names_are_told(told, noise):
    """stefyste/RIAWELC#2: all test images are byte for byte in the training set; nothing told so."""
    pixels = noise(9, 4, 4, 3)
    names = {f"train/{i}.png": i for i in range(6)} | {f"train/copy-{i}.png": i for i in range(2)}
    names |= {f"test/new-{i}.png": i for i in range(4, 9)}
    report = told({name: pixels[i] for name, i in names.items()})
    assert (report.train.copies, report.heldout.copies) == (2, 0)
    assert ", 2 copies of others" in [*lines(report)][1]
    assert report.suspicious[0].startswith("2 of 5 held-out images are copies of training images, pixel by pixel")


def test_a_cache_of_an_older_version_has_no_hashes(told, noise, tmp_path):
    images = {f"{i}.png": pixels for i, pixels in enumerate(noise(10, 4, 4, 3))}
    assert told(images).train.copies == 0
    for file in tmp_path.glob("cache/*/digests.npy"):
        file.unlink()
    assert told({}).train.copies is None


def test_small_images_are_told_with_the_shape_they_are_enlarged_to(told, noise):
    report = told({f"{i}.png": noise(4, 4 + i, 3) for i in range(10)}, shape=(3, 8, 8))
    assert report.suspicious[0].startswith("the smallest images, 4 x 4, are enlarged to 8 x 8")
