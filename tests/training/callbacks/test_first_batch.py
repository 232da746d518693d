"""The check of the first batch; in a training: tests/robustness/test_guards.py."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.callbacks.first_batch import check

GOOD = torch.linspace(-1, 1, 2 * 3 * 4 * 4).view(2, 3, 4, 4)
BAD = {
    "data.source: the first batch is torch.uint8": GOOD.to(torch.uint8),
    r"data.shape=\[3, 4, 4\], but the images of the first batch are \[1, 4, 4\]": GOOD[:, :1],
    "data.batch_size asks for 2 images here, but the first batch has 1": GOOD[:1],
    r"data.source: the first batch spans \[-2, 2\], but images must lie in \[-1, 1\]": 2 * GOOD,
    r"data.source: the first batch spans \[nan, nan\]": GOOD.masked_fill(GOOD > 0.9, torch.nan),
    "data.path: every image of the first batch is of one colour": torch.ones_like(GOOD) * GOOD[:, :1, :1, :1],
    "data.path: every image .* in 0 to 255": -1 + (GOOD > 0) * 2 / 255,  # masks of 0 and 1 taken for grey levels
}


@pytest.mark.parametrize(("sentence", "images"), BAD.items())
def test_a_bad_first_batch_names_its_key(sentence, images):
    check(GOOD, (2, 3, 4, 4))
    with pytest.raises(UserError, match=sentence):
        check(images, (2, 3, 4, 4))


def test_one_flat_image_among_others_is_accepted():
    images = GOOD.clone()
    images[0] = 0.5
    check(images, (2, 3, 4, 4))
