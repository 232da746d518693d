"""Which keys a resume reports as changed, and that a run that goes on is measured as it has been."""

import pytest

from inkwash.config.signatures import defaults_of
from inkwash.runs.resume_check import AUTO, changes, measured_as_before

CLASSIFIER = {"_target_": "inkwash.metrics.extractors.classifier.ClassifierFeatures", "cache_dir": "old"}
TODAY = {"_target_": AUTO, "cache_dir": "data", "first": None}


def config(extractor, labels):
    evaluation = {"every_n_steps": 3, "extractor": extractor, "labels": labels}
    return {"seed": 0, "extractor": extractor, "callbacks": {"evaluation": evaluation}}


OLD = config(CLASSIFIER, "balanced")


def test_new_defaults_do_not_apply_to_a_run_that_is_older():
    new = {**config(TODAY, "reference"), "seed": 1}
    found = measured_as_before(OLD, new, ["seed=1", "run=old"])
    assert [change.key for change in changes(OLD, found)] == ["seed"]
    assert new["callbacks"]["evaluation"]["labels"] == "reference"  # a copy was changed


@pytest.mark.parametrize(
    ("typed", "labels", "extractor"),
    [
        (["callbacks.evaluation.labels=reference"], "reference", CLASSIFIER),
        (["extractor=auto"], "balanced", TODAY),
        (["+extractor.first=null"], "balanced", TODAY),
    ],
)
def test_what_is_typed_applies(typed, labels, extractor):
    found = measured_as_before(OLD, config(TODAY, "reference"), typed)
    assert found == config(extractor, labels)


def test_another_choice_than_todays_default_applies():
    inception = {"_target_": "inkwash.metrics.extractors.inception.InceptionFeatures"}
    new = config(inception, "balanced")
    assert measured_as_before(OLD, new, ["experiment=cifar10"]) == new


@pytest.mark.parametrize("stored", [{}, {"seed": 0, "callbacks": {}}], ids=["imported", "no evaluation"])
def test_a_run_that_has_not_been_measured_takes_the_defaults(stored):
    new = config(TODAY, "reference")
    assert measured_as_before(stored, new, []) == new
    assert measured_as_before(OLD, {"seed": 0, "callbacks": {}}, []) == {"seed": 0, "callbacks": {}}


def test_another_default_that_does_the_same_is_no_change():
    old = {"trainer": {"num_nodes": 1}, "logger": {"wandb": {"project": "inkwash", "tags": []}}}
    new = {"trainer": {"num_nodes": "auto"}, "logger": {"wandb": {"project": None, "tags": None}}}
    assert changes(old, new) == []
    assert [str(change) for change in changes(new, old)] != []
    new["logger"]["wandb"]["project"] = "thesis"
    assert [str(change) for change in changes(old, new)] == ["logger.wandb.project: inkwash -> thesis (applied)"]


NETWORKS = ["unet_small", "dit_digits", "ddpmpp_small", "edm2_small"]


@pytest.mark.parametrize("network", NETWORKS)
def test_an_argument_that_an_older_version_had_not_is_no_change(network, compose_config):
    """Any argument whose value is the class's default, two_times of all networks for one, may be missing in a run."""
    new = compose_config(f"model={network}")
    names = [name for name in defaults_of(new["model"]["_target_"]) if name in new["model"]]
    same = [name for name in names if new["model"][name] == defaults_of(new["model"]["_target_"])[name]]
    old = {**new, "model": {name: value for name, value in new["model"].items() if name not in same}}
    assert "two_times" in same or network == "edm2_small"
    assert len(same) > 2
    assert changes(old, new) == changes(new, old) == []


def test_lists_and_constants_are_defaults_as_a_file_has_them():
    assert defaults_of("inkwash.training.callbacks.evaluation.Evaluation")["weights"] == ["ema"]
    assert defaults_of("inkwash.data.folder.Folder")["splits"] == "auto"


def test_an_argument_with_another_value_than_the_default_is_a_change(compose_config):
    new = compose_config("model=unet_small", "model.two_times=true")
    old = {**new, "model": {name: value for name, value in new["model"].items() if name != "two_times"}}
    assert [(change.key, change.old, change.new) for change in changes(old, new)] == [("model.two_times", False, True)]
    other = {**new, "model": {"_target_": "inkwash.nets.dit.DiT", "shape": [1, 8, 8]}}
    assert "model.two_times" in [change.key for change in changes(other, new)]
