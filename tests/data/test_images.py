import pytest
import torch

from inkwash.data.images import Flipped, Images


def make(noise, n=5):
    return Images(torch.from_numpy(noise(n, 3, 4, 6)), torch.arange(n))


def test_a_batch_is_gathered_in_the_order_asked(noise):
    images = make(noise)
    batch, labels = images.__getitems__([3, 0, 3])
    assert torch.equal(batch, torch.stack([images.images[3], images.images[0], images.images[3]]))
    assert labels.tolist() == [3, 0, 3]


def test_flipped_has_each_image_and_its_mirror(noise):
    images = make(noise)
    before = images.images.clone()
    flipped = Flipped(images)
    batch, labels = flipped.__getitems__([7, 2])
    assert len(flipped) == 10
    assert torch.equal(batch[0], before[2].flip(-1))
    assert torch.equal(batch[1], before[2])
    assert labels.tolist() == [2, 2]
    assert torch.equal(images.images, before)


LAYOUTS = {
    "contiguous": lambda pixels: pixels,
    "channels last": lambda pixels: pixels.contiguous(memory_format=torch.channels_last),
    "one channel, last": lambda pixels: pixels[:, 0, ..., None].contiguous().permute(0, 3, 1, 2),
    "every second image": lambda pixels: pixels.repeat_interleave(2, dim=0)[::2],
    "transposed": lambda pixels: pixels.mT.contiguous().mT,
    "the inside of larger images": lambda pixels: pixels[..., 1:-1],
    "a single image of every second": lambda pixels: pixels[::2][:1],
    "grey as three channels": lambda pixels: pixels[:, :1].expand(-1, 3, -1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_batches_are_those_of_plain_indexing_to_the_memory_format(layout, noise):
    """A network computes in the memory format of its input, so that also decides about the last bits of a training."""
    images = layout(torch.from_numpy(noise(7, 3, 4, 6)))
    count = len(images)
    split, both = Images(images, torch.arange(count)), torch.cat([images, images.flip(-1)])
    for indices in ([*range(2 * count), 0, count, 0], [count], [0]):
        rows = torch.tensor(indices) % count
        plain, batch = split.__getitems__(rows.tolist()), Flipped(split).__getitems__(indices)
        assert torch.equal(plain[0], images[rows])
        assert torch.equal(batch[0], both[indices])
        assert plain[0].stride() == batch[0].stride() == images[rows].stride()
        assert plain[1].tolist() == batch[1].tolist() == rows.tolist()
    assert torch.equal(split.images, both[:count])  # gathering and mirroring leave the set as it is


def test_the_fingerprint_follows_pixels_labels_and_shape(noise):
    images = make(noise)
    pixels, labels = images.images, images.labels
    changed = pixels.clone()
    changed[4, 2, 3, 5] ^= 1
    others = [Images(changed, labels), Images(pixels, labels.flip(0)), Images(pixels.view(5, 3, 6, 4), labels)]
    assert Images(pixels.clone(), labels.clone()).fingerprint == images.fingerprint
    assert len({images.fingerprint, *(other.fingerprint for other in others)}) == 4
