"""With what a run is measured if the command does not say."""

import json

import pytest

from inkwash.commands.evaluate import AUTO, CLASSIFIER, measured_with
from inkwash.runs.directory import RunDirectory

INCEPTION = {"_target_": "inkwash.metrics.extractors.inception.InceptionFeatures", "weights_path": "w.pth"}


@pytest.mark.parametrize(
    ("extractor", "recorded", "first"),
    [
        ({"_target_": AUTO, "cache_dir": "c", "first": None}, [], None),
        ({"_target_": AUTO, "cache_dir": "c", "first": None}, ["pixels", "pyramid", "pyramid"], "pyramid"),
        ({"_target_": CLASSIFIER, "cache_dir": "c"}, [], "classifier"),
    ],
)
def test_a_run_is_measured_as_in_its_training(extractor, recorded, first, tmp_path):
    """Whatever else this machine has; and by another extractor if that one does not apply to the images."""
    lines = [json.dumps({"step": i, "name": "x", "extractor": name}) for i, name in enumerate(recorded)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    found = measured_with(RunDirectory(tmp_path), extractor, "elsewhere")
    assert found == {"_target_": AUTO, "cache_dir": "c", "first": first}


def test_a_choice_of_the_training_stands(tmp_path):
    assert measured_with(RunDirectory(tmp_path), INCEPTION, "cache") == INCEPTION


@pytest.mark.parametrize("text", ["", "{", '{"name": "x"}'], ids=["empty", "damaged", "old"])
def test_records_that_cannot_be_read_are_no_obstacle(text, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(text)
    assert RunDirectory(tmp_path).extractor_name is None
