import json

import numpy as np
import pyarrow as pa
import pytest

from inkwash.data.labels import (
    Classes,
    Part,
    check_alike,
    from_column,
    from_words,
    is_label,
    joined,
    names_in_metadata,
    natural,
    recoded,
)
from inkwash.errors import UserError


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "kind", "labels", "names"),
    [
        ([2, 0, None], pa.uint8(), [2, 0, -1], ()),
        ([-1, 3], pa.int32(), [-1, 3], ()),
        ([2.0, float("nan"), None], pa.float64(), [2, -1, -1], ()),
        ([True, False, None], pa.bool_(), [1, 0, -1], ("false", "true")),
        (["b10", "b9", None], pa.string(), [1, 0, -1], ("b9", "b10")),
        (["x", "a"], pa.large_string(), [1, 0], ("a", "x")),
        (["x", "a", "x"], pa.dictionary(pa.int8(), pa.string()), [1, 0, 1], ("a", "x")),
        ([5, 6], pa.dictionary(pa.int8(), pa.int64()), [5, 6], ()),
        ([None, None], None, [-1, -1], ()),
    ],
)
def test_labels_of_any_column(values, kind, labels, names):
    data = column(values, kind)
    found, classes = from_column(data, (), "y")
    assert is_label(data.type)
    assert (found.tolist(), found.dtype, classes.names) == (labels, np.int64, names)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1.5], pa.float32(), r"label_column=y in f holds numbers that are not whole"),
        ([2**63], pa.uint64(), r"not whole, or too large"),
        ([b"\xff"], pa.binary(), r"label_column=y in f holds bytes that are no text"),
        ([[1]], pa.list_(pa.int64()), r"label_column=y in f holds list"),
    ],
)
def test_columns_that_hold_no_labels_are_named(values, kind, message):
    with pytest.raises(UserError, match=message):
        from_column(column(values, kind), (), "y in f")


def test_names_come_from_the_metadata_of_hugging_face():
    features = {"label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}, "n": {"dtype": "int64", "_type": "Value"}}
    schema = pa.schema([("label", pa.int64()), ("n", pa.int64())]).with_metadata(
        {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    )
    assert names_in_metadata(schema, "label") == ("zebra", "ant")
    assert names_in_metadata(schema, "n") == ()
    assert names_in_metadata(pa.schema([("label", pa.int64())]), "label") == ()
    assert from_column(column([1, 0]), ("zebra", "ant"), "y")[1] == Classes(("zebra", "ant"), fixed=True)
    with pytest.raises(UserError, match="has a label 2, but the metadata name 2 classes"):
        from_column(column([2]), ("zebra", "ant"), "y")


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
