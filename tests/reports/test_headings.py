import torch

from inkwash.reports.headings import HEIGHT, headed, with_headings
from inkwash.reports.image_grid import grid


def sheet(columns, rows=2):
    return grid(torch.zeros(columns * rows, 1, 8, 8, dtype=torch.uint8), columns)


def inked(line, columns):
    """Which columns of a line of names hold dark pixels."""
    width = (line.shape[2] - 2) // columns
    return [bool((line[:, :, 2 + i * width : i * width + width] < 128).any()) for i in range(columns)]


def test_each_column_has_its_name_and_the_grid_is_unchanged():
    plain = sheet(3)
    named = with_headings(plain, ["cat", "", "emu"])
    assert torch.equal(named[:, HEIGHT:], plain)
    assert inked(named[:, :HEIGHT], 3) == [True, False, True]


def test_a_long_name_stays_in_its_column():
    named = with_headings(sheet(3), ["", "a name much longer than its column has room for", ""])
    assert inked(named[:, :HEIGHT], 3) == [False, True, False]
    assert bool((named[:, :, 64:68] == 255).all(dim=0)[:HEIGHT].all())  # the gap beside it


def test_names_stand_only_above_columns_of_one_class():
    plain = sheet(4)
    assert torch.equal(headed(plain, 4, []), plain)
    assert torch.equal(headed(plain, 4, ["a", "b", "c"]), plain)
    assert torch.equal(headed(plain, 4, ["a", "b"]), with_headings(plain, ["a", "b", "a", "b"]))
