import json

import numpy as np
import pyarrow as pa
import pytest

from inkwash.data.label_columns import from_column, is_label, names_in_metadata
from inkwash.data.labels import Classes
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
