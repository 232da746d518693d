"""Non-leaky augmentation: what it does to pixels, what it tells, and on how many ranks."""

import math

import pytest
import torch

from inkwash.data.augment import Augment, check_augment, inverse_of, warp
from inkwash.errors import UserError
from inkwash.nets.song import SongUNet
from inkwash.random import Draws, generator
from support.networks import Zero


def picture(x, y):
    """A smooth picture without symmetry, at positions (x, y) in pixels from the upper left."""
    return torch.stack([torch.sin((3 * x + 5 * y) / 64), torch.cos((x * y / 8 + 2 * x) / 64)])


def smooth(side=32):
    """That picture, (1, 2, side, side)."""
    y, x = torch.meshgrid(torch.arange(side).double(), torch.arange(side).double(), indexing="ij")
    return picture(x, y).float()[None]


def changed(x, scale=1.0, theta=0.0, stretch=1.0, phi=0.0, right=0.0, down=0.0):
    numbers = (torch.tensor([value]) for value in (scale, theta, stretch, phi))
    return warp(x, inverse_of(*numbers, torch.tensor([[float(right), float(down)]])))


def test_nothing_changes_nothing():
    x = torch.rand(1, 3, 12, 20)
    torch.testing.assert_close(changed(x), x, rtol=0, atol=2e-5)


def test_a_shift_is_exact_and_mirrors_at_the_edge():
    """To the right and down; pixel -1 is pixel 1."""
    x = torch.rand(1, 3, 12, 20)
    moved = changed(x, right=3, down=-2)
    torch.testing.assert_close(moved[:, :, :-2, 3:], x[:, :, 2:, :-3], rtol=0, atol=2e-5)
    torch.testing.assert_close(moved[:, :, :-2, :3], x[:, :, 2:, 1:4].flip(3), rtol=0, atol=2e-5)
    torch.testing.assert_close(moved[:, :, -2:, 3:], x[:, :, -3:-1, :-3].flip(2), rtol=0, atol=2e-5)


def test_a_quarter_turn_is_counter_clockwise():
    x = smooth()
    torch.testing.assert_close(changed(x, theta=math.pi / 2), torch.rot90(x, 1, (2, 3)), rtol=0, atol=2e-5)


def test_scale_and_stretch_widen_what_is_in_the_middle():
    """The picture itself at the places that the pixels come from, where those are inside and not near an edge."""
    side, centre = 32, 15.5
    y, x = torch.meshgrid(*[torch.arange(side).double() - centre] * 2, indexing="ij")
    r = math.sqrt(0.5)
    along, across = r * (x - y), r * (x + y)  # an axis up and to the right; y counts down
    for numbers, x_from, y_from in (
        ({"scale": 2.0}, x / 2, y / 2),
        ({"stretch": 1.6}, x / 1.6, y * 1.6),
        ({"stretch": 1.6, "phi": math.pi / 2}, x * 1.6, y / 1.6),
        ({"stretch": 1.6, "phi": math.pi / 4}, r * (along / 1.6 + across * 1.6), r * (across * 1.6 - along / 1.6)),
    ):
        inside = (torch.stack([x_from, y_from]).abs() < centre - 1).all(0)
        assert inside.double().mean() > 0.5
        error = changed(smooth(), **numbers) - picture(x_from + centre, y_from + centre)
        assert error[..., inside].abs().max() < 0.009, numbers


def test_changes_come_in_this_order():
    """Scale, turn, stretch, shift: as one after the other."""
    numbers = {"scale": 1.3, "theta": 0.7, "stretch": 1.2, "phi": 0.4, "right": 2.0, "down": -1.0}
    steps = [{"scale": 1.3}, {"theta": 0.7}, {"stretch": 1.2, "phi": 0.4}, {"right": 2.0, "down": -1.0}]

    def matrix(scale=1.0, theta=0.0, stretch=1.0, phi=0.0, right=0.0, down=0.0):
        given = (torch.tensor([value], dtype=torch.float64) for value in (scale, theta, stretch, phi))
        inverse = inverse_of(*given, torch.tensor([[right, down]], dtype=torch.float64))
        return torch.cat([inverse[0], torch.tensor([[0, 0, 1.0]])])

    product = torch.linalg.multi_dot([matrix(**step) for step in steps])
    torch.testing.assert_close(matrix(**numbers), product, rtol=0, atol=1e-12)


def draws(n=1, stream="augment"):
    return Draws([generator(0, stream, k) for k in range(n)])


def test_shares_of_what_is_told():
    _, told = Augment(0.12)(torch.zeros(20_000, 1, 2, 2), draws())
    shares = (told != 0).double().mean(0)
    expected = [0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.06, 0.12, 0.12]
    assert shares.tolist() == pytest.approx(expected, abs=0.01)
    untouched = (told[:, 1:] == 0).all(1).double().mean()
    assert untouched.item() == pytest.approx(0.94 * 0.88**4, abs=0.01)
    drawn = told[told[:, 2] != 0, 2]
    assert (drawn.mean().item(), drawn.std().item()) == pytest.approx((0, 1), abs=0.06)
    turned = torch.atan2(told[:, 4], told[:, 3] + 1)[told[:, 3] != 0]
    assert turned.abs().mean().item() == pytest.approx(math.pi / 2, abs=0.06)
    quarters = turned.histc(4, -math.pi, math.pi) / len(turned)
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.03)
    stretched = told[told[:, 5] != 0, 5:7]
    assert stretched.square().sum(1).mean().item() == pytest.approx(1, abs=0.1)


def test_zeros_are_told_of_images_that_are_themselves():
    x = torch.rand(400, 1, 8, 8)
    images, told = Augment(0.12)(x, draws())
    plain = (told == 0).all(1)
    only_flipped = (told[:, 1:] == 0).all(1) & (told[:, 0] == 1)
    assert min(plain.sum(), only_flipped.sum()) > 80
    assert torch.equal(images[plain], x[plain])
    assert torch.equal(images[only_flipped], x[only_flipped].flip(3))
    others = ~(plain | only_flipped)
    assert ((images - x)[others].abs().amax((1, 2, 3)) > 1e-3).all()


def test_what_is_told_is_what_was_done():
    """From the numbers alone, every image can be made from the one before."""
    x = smooth().expand(64, -1, -1, -1)
    images, told = Augment(1.0)(x, draws())
    flipped = torch.where(told[:, 0].bool().view(-1, 1, 1, 1), x.flip(3), x)
    flipped = torch.where(told[:, 1].bool().view(-1, 1, 1, 1), flipped.flip(2), flipped)
    theta, shift = torch.atan2(told[:, 4], told[:, 3] + 1), told[:, 7:] * 32 / 8
    level = told[:, 6] == 0  # else w and phi + pi tell the same as -w and phi
    again = warp(flipped, inverse_of(2 ** (told[:, 2] / 5), theta, 2 ** (told[:, 5] / 5), 0 * theta, shift))
    assert 20 < level.sum() < 44
    torch.testing.assert_close(images[level], again[level], rtol=0, atol=1e-3)


def test_ranks_change_what_one_process_changes():
    x, augment = torch.rand(16, 1, 8, 8), Augment(0.5)
    whole = augment(x, draws(4))
    for rank in range(2):
        mine = Draws([generator(0, "augment", k) for k in (2 * rank, 2 * rank + 1)])
        part = augment(x[8 * rank : 8 * rank + 8], mine)
        assert all(torch.equal(a, b[8 * rank : 8 * rank + 8]) for a, b in zip(part, whole, strict=True))


def test_none_is_drawn_at_p_0_and_other_values_are_refused():
    x = torch.rand(16, 1, 8, 8)
    images, told = Augment(0.0)(x, draws())
    assert torch.equal(images, x)
    assert not told.any()
    with pytest.raises(UserError, match=r"augment.p=1.2 must lie between 0 and 1"):
        Augment(1.2)


class Objective:
    def objective(self, denoiser, x_0, eps, t, y, augment=None): ...


class OldObjective:
    def objective(self, denoiser, x_0, eps, t, y): ...


def test_networks_that_cannot_be_told_are_refused():
    sizes = {"channels": 8, "channel_mult": [1], "num_res_blocks": 1, "attention_resolutions": []}
    check_augment(None, Zero(), OldObjective())
    check_augment(Augment(), SongUNet((1, 8, 8), augment_dim=9, **sizes), Objective())
    for net, loss, sentence in (
        (Zero(), Objective(), r"augment: Zero cannot be told .*pass augment=null, or a model"),
        (SongUNet((1, 8, 8), **sizes), Objective(), r"model.augment_dim=0, but augment tells 9 .*model.augment_dim=9"),
        (SongUNet((1, 8, 8), augment_dim=9, **sizes), OldObjective(), r"OldObjective.objective has no argument `aug"),
    ):
        with pytest.raises(UserError, match=sentence):
            check_augment(Augment(), net, loss)
