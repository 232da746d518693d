"""What both kinds of shards have in common: each image once an epoch, well mixed, a few blocks at a time."""

import ctypes
import os
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.data.test_image_data_module import fit

from inkwash.data.batches import StepBatches
from inkwash.data.images import Flipped, Images
from inkwash.data.module import ImageDataModule
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.data.webdataset import WebDataset
from inkwash.errors import UserError
from inkwash.images import InBlocks
from inkwash.metrics.extractors import classifier
from inkwash.metrics.extractors.pixels import PixelFeatures
from inkwash.metrics.reference import reference_statistics

SHAPE = (3, 6, 5)
SIZES = (17, 1, 0, 30, 12)  # images of each file


@pytest.fixture
def write(write_parquet, write_tar, tmp_path, monkeypatch):
    """write(kind, images, sizes): shards of some sizes and how to read them; the label of image i is i."""
    # Blocks of a few images, as row groups have them below, so that small sets have many.
    monkeypatch.setattr("inkwash.data.webdataset.ROWS", 4)

    def shards(kind, images, sizes=SIZES, rows=4, **options):
        ends = np.cumsum(sizes)
        folder = tmp_path / kind
        folder.mkdir()
        for number, (end, size) in enumerate(zip(ends, sizes, strict=True)):
            part = range(end - size, end)
            if kind == "parquet":
                write_parquet(folder / f"{number}.parquet", [images[i] for i in part], part, row_group_size=rows)
            else:
                write_tar(folder / f"{number}.tar", [images[i] for i in part], part)
        source = {"parquet": ParquetStream, "tar": WebDataset}[kind]
        return source(**{"window": 20, "cache_dir": str(tmp_path / "cache")} | options), str(folder)

    return shards


@pytest.fixture
def stream(write, noise):
    """stream(kind): 54 of 60 images."""

    def load(kind, count=60, sizes=SIZES, split="train", **options):
        source, path = write(kind, noise(count, 6, 5, 3), sizes, **options)
        return source.load(split, SHAPE, path)

    return load


kinds = pytest.mark.parametrize("kind", ["parquet", "tar"])


def epochs(images, count=1, seed=0):
    return [list(images.order(seed, epoch)) for epoch in range(count)]


# --- The images -------------------------------------------------------------------------------------------------------


@kinds
def test_sizes_are_those_in_the_files(write, noise, kind, encode):
    """Of the first images, as many as are asked for; one that cannot be read has none."""
    images = [noise(6, 5, 3), noise(8, 12, 3), *noise(10, 6, 5, 3)]
    source, path = write(kind, images, [12], heldout_fraction=0, resize=True, skip_corrupt=True)
    split = source.load("train", SHAPE, path)
    assert split.sizes(2) == [(6, 5), (8, 12)]
    assert len(split.sizes(99)) == 12


@kinds
def test_sizes_pass_over_headers_that_are_damaged(write, noise, kind, encode):
    """Pillow has an error of its own for an image of many pixels, and others for other damage."""
    images = [encode(image) for image in noise(12, 6, 5, 3)]
    header = bytearray(images[3])
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    images[3], images[5] = bytes(header), images[5][:20]
    source, path = write(kind, images, [12], heldout_fraction=0, skip_corrupt=True)
    assert source.load("train", SHAPE, path).sizes(99) == [(6, 5)] * 10


@kinds
def test_every_image_has_its_pixels_and_its_label(write, noise, kind):
    pixels = noise(60, 6, 5, 3)
    source, path = write(kind, pixels)
    seen = []
    for split, count in (("train", 54), ("heldout", 6)):
        found = source.load(split, SHAPE, path)
        images, labels = found.__getitems__(list(range(count)))
        assert (len(found), found.shape, found.labels.tolist()) == (count, SHAPE, labels.tolist())
        assert torch.equal(images, torch.from_numpy(pixels[labels]).permute(0, 3, 1, 2))
        seen += labels.tolist()
    assert sorted(seen) == list(range(60))


def test_the_split_is_the_one_of_the_same_files_in_memory(write, noise, tmp_path):
    source, path = write("parquet", noise(60, 6, 5, 3))
    for split in ("train", "heldout"):
        in_memory = Parquet(cache_dir=str(tmp_path)).load(split, SHAPE, path)
        streamed = source.load(split, SHAPE, path)
        assert len(streamed) == len(in_memory)
        pixels, labels = streamed.__getitems__(list(range(len(streamed))))
        assert torch.equal(pixels, in_memory.images)
        assert torch.equal(labels, in_memory.labels)


@kinds
def test_heldout_path_is_held_out_and_all_else_trained_on(write, noise, kind, tmp_path):
    source, path = write(kind, noise(60, 6, 5, 3), heldout_path=str(tmp_path / kind / "4.*"))
    labels = [source.load(split, SHAPE, path).labels.tolist() for split in ("train", "heldout")]
    assert labels == [list(range(48)), list(range(48, 60))]


@kinds
def test_a_stated_range_and_a_background_reach_the_pixels(write, kind, encode):
    images = [encode(np.full((6, 5), 100, np.uint16)), encode(np.zeros((6, 5, 4), np.uint8))] * 10
    source, path = write(kind, images, (20,), white=200)
    with pytest.raises(UserError, match=r"partly transparent: .* or add data\.source\.background=white"):
        source.load("train", SHAPE, path).__getitems__(list(range(18)))
    options = {"heldout_fraction": 0.1, "cache_dir": source.cache_dir}
    source = type(source)(white=200, background="white", **options)
    pixels, labels = (stream := source.load("train", SHAPE, path)).__getitems__(list(range(18)))
    assert [int(image.unique()) for image in pixels] == [128 if label % 2 == 0 else 255 for label in labels]
    others = [type(source)(**given, **options) for given in ({}, {"white": 200})]
    assert len({stream.fingerprint, *(other.load("train", SHAPE, path).fingerprint for other in others)}) == 3


# --- The order --------------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize(("sizes", "ranks"), [(SIZES, 1), (SIZES, 2), (SIZES, 3), ((60,), 3)])
def test_an_epoch_has_each_image_once_on_any_ranks_and_files(stream, kind, sizes, ranks):
    images = stream(kind, sizes=sizes)
    whole = list(chain(*islice(StepBatches(images, 6, seed=0), 18)))  # 18 * 6 = 2 * 54
    shares = [list(islice(StepBatches(images, 6, seed=0, world_size=ranks, rank=r), 18)) for r in range(ranks)]
    assert [index for step in zip(*shares, strict=True) for index in chain(*step)] == whole
    read = [images.__getitems__(batch)[1].tolist() for share in shares for batch in share[:9]]
    assert sorted(chain(*read)) == images.labels.tolist()
    assert sorted(whole[54:]) == list(range(54))


@kinds
@pytest.mark.parametrize("copies", [1, 2])
def test_from_any_position_the_rest_is_the_same(stream, kind, copies):
    images = stream(kind)
    whole = list(images.order(3, 5, 0, copies))
    assert sorted(whole) == list(range(copies * 54))
    assert all(list(images.order(3, 5, first, copies)) == whole[first:] for first in range(copies * 54))


def test_seeds_and_epochs_have_orders_of_their_own(stream):
    images = stream("parquet")
    (first, second), (other, _) = epochs(images, 2), epochs(images, 2, seed=1)
    assert first == epochs(images)[0]
    assert len({tuple(order) for order in (first, second, other)}) == 3


def test_mirror_images_are_part_of_an_epoch(stream):
    images = stream("parquet")
    both = Flipped(images)
    indices = list(both.order(0, 0))
    assert sorted(indices) == list(range(108))
    pixels, labels = both.__getitems__(indices[:20])
    for index, image, label in zip(indices, pixels, labels, strict=False):
        plain, same_label = images.__getitems__([index % 54])
        assert torch.equal(image, plain[0].flip(-1) if index >= 54 else plain[0])
        assert label == same_label[0]


def rank_correlation(a, b):
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


@pytest.mark.slow
def test_the_order_is_well_mixed(stream):
    """100 blocks of 20 images, four mixed with each other at the least: here eight."""
    images = stream("tar", 2000, (2000,), heldout_fraction=0.0005, window=32)  # blocks of 4: a window of 8
    blocks, orders = np.arange(1999) // 4, [np.array(order) for order in epochs(images, 8)]
    # Against the order of the files, the blocks' own shuffle leaves a correlation of deviation 1 / sqrt(500) = 0.045.
    assert np.abs([rank_correlation(order, np.arange(1999)) for order in orders]).max() < 3 * 0.045
    assert abs(np.mean([rank_correlation(order, np.arange(1999)) for order in orders])) < 3 * 0.045 / np.sqrt(8)
    # Of each other, epochs know nothing.
    assert np.abs([rank_correlation(a, b) for a, b in pairwise(orders)]).max() < 3 * 0.045
    # Within a block, neighbours in the file are in any order.
    places = np.argsort(orders[0])
    rows = np.diff(places)[np.diff(blocks) == 0]
    assert abs((rows > 0).mean() - 0.5) < 3 * 0.5 / np.sqrt(len(rows))
    # 16 images in a row come from the eight blocks of a window or more; from 4 they would without a window.
    mixed = [len(set(blocks[orders[0][start : start + 16]])) for start in range(0, 1984, 16)]
    assert min(mixed) >= 8


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(("ranks", "readers"), [(1, 1), (2, 1), (2, 3), (8, 2)])
def test_a_process_reads_each_block_about_once_and_holds_few(stream, monkeypatch, ranks, readers):
    """Whichever part of the batches it takes."""
    images = stream("tar", 2000, (900, 1100), window=64)
    blocks, reads, read = len(images.shards.sizes), [], images.shards.read
    assert (blocks, images.window, images.capacity) == (500, 16, 20)
    monkeypatch.setattr(images.shards, "read", lambda block: reads.append(block) or read(block))
    for batch in islice(StepBatches(images, 16, seed=0, world_size=ranks), 0, 1800 // 16, readers):
        images.__getitems__(batch)
        assert len(images._blocks) <= 20
    # The last blocks of an epoch lie around its beginning too.
    assert len(reads) <= blocks + images.window + (ranks * readers > 4) * blocks // 4


@pytest.mark.slow
def test_metrics_of_a_few_images_do_not_read_all_blocks(stream, monkeypatch, tmp_path):
    images = stream("tar", 2000, (900, 1100), window=64)
    assert isinstance(images, InBlocks)
    assert not isinstance(Images(torch.zeros(1, 1, 1, 1), torch.zeros(1)), InBlocks)
    reads, read = [], images.shards.read
    monkeypatch.setattr(images.shards, "read", lambda block: reads.append(block) or read(block))
    (pixels := PixelFeatures()).prepare(images, images)
    moments = reference_statistics(pixels, images, tmp_path, 100)
    assert moments.n == 100
    assert len(reads) < 60
    reads.clear()
    seen = list(islice(classifier._batches(images, torch.Generator(), 0), 2 * 1800 // 64))
    for batch in seen:
        images.__getitems__(batch)
    assert len(set(chain(*seen))) == 1800
    assert len(reads) < 2 * 500 + 3 * images.capacity


def resident():
    """Memory of this process in MB, without what allocators keep for later: after other tests that may be 60 MB."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


@pytest.mark.sampled(every=2)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux, and glibc")
@kinds
def test_memory_does_not_grow_with_the_set(write, noise, kind):
    """34 MB of images through a buffer of less than 5."""
    images = [b"P6 64 64 255 " + pixels.tobytes() for pixels in noise(40, 64, 64, 3)] * 70
    source, path = write(kind, images, (1000, 1800), rows=50, window=200)
    stream = source.load("train", (3, 64, 64), path)
    assert stream.memory < 5e6
    before, most = None, 0.0
    for number, batch in enumerate(islice(StepBatches(stream, 32, seed=0), 2520 // 32)):
        stream.__getitems__(batch)
        if number == 10:
            before = resident()
        most = max(most, resident())
    assert most - before < 15


# --- What goes wrong --------------------------------------------------------------------------------------------------


@kinds
def test_the_index_is_made_once_and_again_for_other_files(write, noise, kind, tmp_path, monkeypatch):
    pixels = noise(60, 6, 5, 3)
    source, path = write(kind, pixels)
    before = source.load("train", SHAPE, path)
    heldout = source.load("heldout", SHAPE, path)
    monkeypatch.setattr(type(source), "scan", None)  # calling it would fail
    assert source.load("train", SHAPE, path).fingerprint == before.fingerprint != heldout.fingerprint
    monkeypatch.undo()
    assert source.load("train", (3, 3, 3), path).fingerprint != before.fingerprint
    sorted(Path(path).iterdir())[0].unlink()
    after = source.load("train", SHAPE, path)
    assert (len(after), after.fingerprint == before.fingerprint) == (39, False)


@kinds
def test_the_same_files_elsewhere_have_the_same_fingerprint(write, noise, kind, tmp_path):
    source, path = write(kind, noise(60, 6, 5, 3))
    before = source.load("train", SHAPE, path).fingerprint
    moved = Path(path).rename(tmp_path / "moved")
    for file in moved.iterdir():
        os.utime(file, (1, 1))
    assert source.load("train", SHAPE, str(moved)).fingerprint == before


@kinds
def test_a_job_killed_while_indexing_leaves_no_half_index(write, noise, kind, monkeypatch):
    source, path = write(kind, noise(60, 6, 5, 3))
    scan, seen = type(source).scan, []

    def killed_at_the_third(self, file, told):
        seen.append(file)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return scan(self, file, told)

    monkeypatch.setattr(type(source), "scan", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        source.load("train", SHAPE, path)
    monkeypatch.undo()
    assert len(source.load("train", SHAPE, path)) == 54


@kinds
def test_another_image_of_the_split_replaces_a_corrupt_one(write, noise, kind, caplog):
    images = [*noise(60, 6, 5, 3)]
    images[19] = images[19] = b"no image"
    source, path = write(kind, images, skip_corrupt=True)
    train = source.load("train", SHAPE, path)
    heldout = set(source.load("heldout", SHAPE, path).labels.tolist())
    pixels, labels = train.__getitems__(list(range(54)))
    assert not {19, 20} & set(labels.tolist())
    assert not heldout & set(labels.tolist())
    assert torch.equal(pixels, torch.from_numpy(np.stack([images[i] for i in labels])).permute(0, 3, 1, 2))
    assert train.labels.tolist() != labels.tolist()
    assert [record.message for record in caplog.records if "takes its place" in record.message] != []


@kinds
@pytest.mark.parametrize("readers", [0, 1])
def test_a_corrupt_image_ends_a_training_in_one_sentence(write, noise, kind, readers, tmp_path):
    images = [*noise(60, 6, 5, 3)]
    images[19] = b"no image"
    source, path = write(kind, images)
    data = ImageDataModule(source, list(SHAPE), None, batch_size=54, path=path, num_workers=readers)
    named = {"parquet": r"row 1 of .*3\.parquet", "tar": r"000001\.png in .*3\.tar"}[kind]
    with pytest.raises(UserError, match=rf"^{named} cannot be read as an image: [^\n]*skip_corrupt=true$"):
        fit(2, tmp_path, data=data)


@kinds
def test_nothing_but_corrupt_images_is_an_error(write, kind):
    source, path = write(kind, [b"no image"] * 60, skip_corrupt=True)
    with pytest.raises(UserError, match=r"^no image near .* can be read: check data\.path"):
        source.load("train", SHAPE, path).__getitems__([0])


@kinds
@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (None, {}, r"data\.path is missing"),
        ("nowhere", {}, r"data\.path=.*nowhere finds no file: give a \.\w+ file"),
        (".", {"window": 0}, r"data\.source\.window=0 must be at least 1"),
        (".", {"heldout_path": "nowhere"}, r"data\.source\.heldout_path=.*nowhere finds no file"),
        (".", {"heldout_fraction": 1.0}, r"data\.source\.heldout_fraction=1\.0 must be at least 0 and less than 1"),
        (".", {"cache_dir": "/proc/nowhere"}, r"data\.source\.cache_dir=/proc/nowhere cannot be written"),
    ],
)
def test_mistakes_are_named(write, noise, kind, path, options, message):
    def load():
        source, folder = write(kind, noise(60, 6, 5, 3), **options)
        return source.load("heldout", SHAPE, path and str(Path(folder, path)))

    with pytest.raises(UserError, match=message):
        load()
