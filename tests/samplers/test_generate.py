"""Labels of generated images."""

from inkwash.samplers.generate import labels_for


def test_labels_fill_columns():
    assert labels_for(range(5), 3).tolist() == [0, 1, 2, 0, 1]
    assert labels_for(range(5), None) is None
