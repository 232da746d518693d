"""The cache of moments: any number of ranks, interruptions, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from inkwash.autoencoders import cache
from inkwash.data.images import Flipped, Images
from inkwash.errors import UserError
from inkwash.images import to_float
from inkwash.random import generator
from support.autoencoders import blocks

SHAPE, N = [1, 4, 4], 700  # with mirror images, six blocks


@pytest.fixture
def images():
    pixels = torch.randint(0, 256, (N, *SHAPE), generator=generator("images"), dtype=torch.uint8)
    return Flipped(Images(pixels, torch.arange(N) % 3, "one"))


class Interrupted:
    """Images that cannot be read after so many batches; counts those that were."""

    def __init__(self, images, batches):
        self.images, self.left, self.read = images, batches, 0

    def __getitems__(self, indices):
        if not self.left:
            raise KeyboardInterrupt
        self.left, self.read = self.left - 1, self.read + 1
        return self.images.__getitems__(indices)


def filled(out, images, world=1):
    ae = blocks(SHAPE)
    meta = cache.identity("one", len(images), True, ae)
    cache.begin(out, meta)
    for rank in range(world):
        cache.fill(out, meta, images, ae, rank, world)
    cache.finish(out)
    return meta


def test_moments_are_those_of_images_and_of_mirror_images(images, tmp_path):
    meta = filled(tmp_path / "out", images)
    found = torch.from_numpy(np.array(cache.opened(tmp_path / "out", meta)))
    pixels = images.images.images
    both = torch.cat([pixels, pixels.flip(-1)])
    assert torch.equal(found, blocks(SHAPE).moments_of(to_float(both)).half())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_any_number_of_ranks_writes_the_same(images, tmp_path):
    filled(tmp_path / "one", images)
    filled(tmp_path / "three", images, world=3)
    one, three = ((tmp_path / name / "moments").read_bytes() for name in ("one", "three"))
    assert one == three


def test_it_goes_on_where_it_was_interrupted(images, tmp_path):
    ae, out = blocks(SHAPE), tmp_path / "out"
    meta = cache.identity("one", len(images), True, ae)
    cache.begin(out, meta)
    with pytest.raises(KeyboardInterrupt):
        cache.fill(out, meta, Interrupted(images, 4), ae, 0, 1)
    with pytest.raises(UserError, match="lacks some blocks of latents: start the same command again"):
        cache.finish(out)
    cache.begin(out, meta)
    rest, rows = Interrupted(images, 100), []
    cache.fill(out, meta, rest, ae, 1, 2, rows.append)  # on two ranks now
    cache.fill(out, meta, rest, ae, 0, 2, rows.append)
    assert (rest.read, sum(rows)) == (2, 2 * N)
    cache.finish(out)
    filled(tmp_path / "whole", images)
    assert (out / "moments").read_bytes() == (tmp_path / "whole" / "moments").read_bytes()
    cache.fill(out, meta, Interrupted(images, 0), ae, 0, 1)  # finished: nothing is read


def test_an_interrupted_one_of_something_else_is_begun_anew(images, tmp_path):
    out = tmp_path / "out"
    cache.begin(out, {**cache.identity("other", 3, True, blocks(SHAPE))})
    filled(out, images)
    assert json.loads((out / "meta.json").read_text())["images"] == "one"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"autoencoder": "other"}, "latents of another autoencoder"),
        ({"images": "other"}, "latents of other images"),
        ({"flip": False}, "unlike data.flip"),
        ({"shape": [2, 1, 1]}, "of another shape"),
    ],
)
def test_what_is_of_something_else_is_refused(change, reason, images, tmp_path):
    meta = filled(tmp_path / "out", images)
    with pytest.raises(UserError, match=f"autoencoder.cache=.*{reason}"):
        cache.opened(tmp_path / "out", meta | change)
    with pytest.raises(UserError, match=f"out=.*{reason}"):
        cache.begin(tmp_path / "out", meta | change)


def test_an_empty_folder_is_filled_and_another_left_alone(images, tmp_path):
    (tmp_path / "out").mkdir()
    meta = filled(tmp_path / "out", images)
    assert len(cache.opened(tmp_path / "out", meta)) == 2 * N
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("photos", "file"):
        with pytest.raises(UserError, match=f"out=.*{name} exists and holds no latents: choose another folder, or del"):
            cache.begin(tmp_path / name, meta)
    assert (tmp_path / "photos" / "mine.png").read_text() == (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.glob("*.partial"))


def test_what_is_missing_or_cut_short_is_refused(images, tmp_path):
    meta = filled(tmp_path / "out", images)
    with pytest.raises(UserError, match="holds no latents: make encode out="):
        cache.opened(tmp_path / "nowhere", meta)
    with open(tmp_path / "out" / "moments", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match="is damaged"):
        cache.opened(tmp_path / "out", meta)


@pytest.mark.parametrize("ours", [[], ["moments"], ["moments", "done", "meta.json"]])
def test_what_an_interrupted_start_has_left_is_replaced(ours, images, tmp_path):
    (tmp_path / "out.partial").mkdir()
    for name in ours:
        (tmp_path / "out.partial" / name).write_text("{}")
    meta = filled(tmp_path / "out", images)
    cache.opened(tmp_path / "out", meta)


def test_a_folder_of_something_else_is_not_deleted(images, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match=r"collected in .*out.partial, which holds something else"):
        filled(tmp_path / "out", images)
    assert (tmp_path / "out.partial" / "thesis.tex").read_text() == "all of it"
