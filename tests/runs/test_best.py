"""Directions of metrics come from their records; only records of older runs are known by their names."""

import json

import pytest

from inkwash.errors import UserError
from inkwash.runs.best import best_column, check_mode, logged_directions, lower_is_better, main_metric, sign_of
from inkwash.runs.directory import RunDirectory

OLD = {
    "fd_classifier_1350": True, "fid_10k": True, "fid_infinity_10k": True, "kid_inception_1000": True,
    "accuracy_classifier_1350": False, "recall_dinov2_1000_raw": False, "isc_inception_1000": False,
    "precision_x_8": False, "density_x_8": False, "coverage_x_8": False, "kid_std_inception_1000": None,
    "isc_std_inception_1000": None, "fd_low_x_8": None, "fid_high_10k": None, "memorised_x_8": None, "other_x_8": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "lower"), OLD.items())
def test_records_of_older_runs_are_known_by_their_names(name, lower):
    assert lower_is_better({"name": name, "value": 1.0}) is lower
    for stored in (True, False, None):  # the record's word counts, where it has one
        assert lower_is_better({"name": name, "lower_is_better": stored}) is stored


def test_logged_values_have_the_directions_of_their_records(tmp_path):
    run = RunDirectory(tmp_path)
    assert logged_directions(run) == {"heldout/loss": True}
    records = [
        {"name": "zest_x_8", "lower_is_better": False}, {"name": "zest_low_x_8", "lower_is_better": None},
        {"name": "kid_x_8"}, {"name": "kid_std_x_8"},
    ]  # fmt: skip
    half = '{"name": "fd_x_8", "lower_is_be'  # of a run that writes it now
    run.metrics_jsonl.write_text("".join(json.dumps(record) + "\n" for record in records) + half)
    assert logged_directions(run) == {
        "metrics/zest_x_8": False, "metrics/zest_low_x_8": None, "metrics/kid_x_8": True, "metrics/kid_std_x_8": None,
        "heldout/loss": True,
    }  # fmt: skip
    # What real images score, the classifier's accuracy and seconds have no record, so they have no best.


def test_the_main_metric_is_the_first_that_has_a_best():
    directions = {"fd_low_x_8": None, "fd_high_x_8": None, "accuracy_x_8": False, "heldout_loss": True}
    assert main_metric(directions) == "accuracy_x_8"
    assert main_metric(directions, "fd_") == "fd_low_x_8"
    assert main_metric(directions, "heldout") == "heldout_loss"
    assert main_metric(directions, "kid") is None
    assert main_metric({"fd_low_x_8": None, "fd_high_x_8": None}) == "fd_low_x_8"
    assert main_metric({}) is None


def test_the_beginning_of_a_name_means_the_plainest_of_its_values():
    """`fid` and `fd` are one key, whose values are called fid only with Inception's features (metrics/record.py)."""
    directions = {"fd_low_x_8": None, "fd_infinity_x_8": True, "fd_x_8": True, "fd_x_8_raw": True, "fdelity_x_8": False}
    for beginning in ("fd", "fid", "fd_x", "fid_x_8"):
        assert main_metric(directions, beginning) == "fd_x_8", beginning
    assert main_metric(directions, "fid_infinity") == "fd_infinity_x_8"
    assert main_metric(directions, "fid_8") is None
    assert main_metric(directions, "fidelity") is None
    assert main_metric({"fid_low_10k": None, "fid_10k": True}, "fd") == "fid_10k"


def test_the_best_value_has_the_smallest_product_with_the_sign():
    assert [sign_of(lower) for lower in (True, None, False)] == [1, 1, -1]
    assert [sign_of(lower, "max") for lower in (True, None, False)] == [-1, -1, -1]
    assert [sign_of(lower, "min") for lower in (True, None, False)] == [1, 1, 1]
    with pytest.raises(UserError, match="callbacks.best.mode=up must be min or max, or null"):
        check_mode("callbacks.best.mode", "up")


def test_columns_of_best_values():
    assert best_column("metrics/fd_classifier_1350") == "best/fd_classifier_1350"
    assert best_column("heldout/loss") == "best/heldout_loss"
