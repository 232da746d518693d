import numpy as np
import pytest

from inkwash.data.labels import (
    Classes,
    Part,
    check_alike,
    from_words,
    joined,
    natural,
    recoded,
)
from inkwash.errors import UserError


def test_files_with_other_names_share_one_numbering():
    a, b = from_words(["x2", "x10"]), from_words(["x10", "x1", None])
    classes = joined([a[1], b[1]])
    assert classes.names == ("x1", "x2", "x10")
    assert recoded(*a, classes).tolist() == [1, 2]
    assert recoded(*b, classes).tolist() == [2, 0, -1]


def test_an_order_that_is_given_is_kept():
    given = Classes(("zebra", "ant"), fixed=True)
    assert joined([given, Classes(), given]) == given
    longer = joined([given, Classes(("zebra", "ant", "bee"), fixed=True)])
    assert longer.names == ("zebra", "ant", "bee")
    assert recoded(np.array([0, 1, -1]), given, longer).tolist() == [0, 1, -1]


def test_names_of_any_digits_are_sorted():
    long = "1" * 5000
    names = ["²", "①", long, "2", "02", "0", "", "a²", "٣"]
    assert sorted(names, key=natural) == ["", "0", "02", "2", long, "a²", "²", "٣", "①"]


def test_two_comes_before_ten():
    names = ["10", "9b", "class2", "class10", "9", "b", "a1b10", "a1b9"]
    assert sorted(names, key=natural) == ["9", "9b", "10", "a1b9", "a1b10", "b", "class2", "class10"]


NUMBERS, NONE, GIVEN = Part("n", True, Classes()), Part("e", False, Classes()), Classes(("x", "y"), fixed=True)


@pytest.mark.parametrize(
    ("parts", "fit"),
    [
        ([NUMBERS, Part("w", True, Classes(("cat", "dog")))], False),
        ([NUMBERS, Part("w", True, Classes(("1", "2")))], False),
        ([NUMBERS, Part("w", True, Classes(("0", "1", "2")))], True),
        ([NUMBERS, Part("w", False, Classes())], True),
        ([NONE, Part("w", True, Classes(("cat",)))], True),
        ([NUMBERS, Part("w", True, GIVEN)], True),
        ([Part("w", True, Classes(("cat",))), Part("w", True, Classes(("1",)))], True),
    ],
)
def test_numbers_beside_names_are_refused(parts, fit):
    classes = joined(part.classes for part in parts)
    if fit:
        check_alike(parts, classes, "do so")
        return
    with pytest.raises(UserError, match=r"^n has labels that are numbers, and w .* names, such as .*: make them alike"):
        check_alike(parts, classes, "do so")


NFC, NFD = "caf\u00e9", "cafe\u0301"  # letter and accent stored as one, and apart, as macOS does


def test_two_spellings_of_an_accent_are_one_class():
    """knobiknows/all-the-bufo#82: macOS and Linux together leave names of both spellings, which look the same."""
    labels, classes = from_words([NFD, "a", NFC, "z", None])
    assert (labels.tolist(), classes.names) == ([1, 0, 1, 2, -1], ("a", NFC, "z"))


def test_a_single_spelling_stays_as_it_is_stored():
    """The order of the labels of older runs depends on it."""
    assert from_words([NFD, "cafz"])[1].names == (NFD, "cafz")


@pytest.mark.parametrize("fixed", [False, True])
def test_files_of_different_spellings_have_the_same_classes(fixed):
    parts = [Classes(("b", NFD), fixed), Classes((NFC, "d"), fixed)]
    classes = joined(parts)
    assert classes.names == ("b", NFC, "d")
    assert recoded(np.array([0, 1, -1]), parts[0], classes).tolist() == [0, 1, -1]
    assert recoded(np.array([0, 1, -1]), parts[1], classes).tolist() == [1, 2, -1]
