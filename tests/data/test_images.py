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


def test_the_fingerprint_follows_pixels_labels_and_shape(noise):
    images = make(noise)
    pixels, labels = images.images, images.labels
    changed = pixels.clone()
    changed[4, 2, 3, 5] ^= 1
    others = [Images(changed, labels), Images(pixels, labels.flip(0)), Images(pixels.view(5, 3, 6, 4), labels)]
    assert Images(pixels.clone(), labels.clone()).fingerprint == images.fingerprint
    assert len({images.fingerprint, *(other.fingerprint for other in others)}) == 4
