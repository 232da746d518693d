"""The direction of a sweep's metric, before the first trial."""

from pathlib import Path

import pytest

from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.sweeps.direction import minimizes, value_of

EVERY = ",".join(sorted(path.stem for path in (Path(config_dir()) / "metrics").glob("*.yaml")))


@pytest.fixture(scope="module")
def metrics(compose_config):
    return compose_config(f"metrics=[{EVERY}]")["metrics"]


def test_names_keys_and_beginnings_say_the_direction(metrics):
    for rising in ("accuracy_classifier_8", "accuracy", "isc", "prc", "dc", "recall_classifier_8", "prec"):
        assert not minimizes(metrics, rising), rising
    for falling in (
        "fd_classifier_8", "fid", "fid_10k", "fid_infinity_10k", "fd_low_classifier_8", "kid", "kid_std_inception_10k",
        "isc_std_inception_10k", "heldout_loss", "memorised", "memorised_pixels",
    ):  # fmt: skip
        assert minimizes(metrics, falling), falling


@pytest.mark.parametrize(
    ("chosen", "lower"), [("fid,accuracy", True), ("accuracy,fid", False), ("interval,isc", False)]
)
def test_without_a_choice_it_is_the_first_that_has_a_best(chosen, lower, compose_config):
    assert minimizes(compose_config(f"metrics=[{chosen}]")["metrics"], None) is lower


@pytest.mark.parametrize(("typed", "found"), {
    None: None, "fid": "fid", "fd_pyramid_20": "fd_pyramid_20", "memorised_pixels": "memorised_pixels", "isc": "isc",
    "heldout": "heldout", "prc": "precision", "dc": "density", "interval": "fd_low", "infinity": "fd_infinity",
}.items())  # fmt: skip
def test_a_name_of_a_metric_becomes_that_of_its_value(metrics, typed, found):
    """What is the beginning of a value's name stays as it is."""
    assert value_of(metrics, typed) == found


def test_a_value_that_no_metric_gives_is_refused(compose_config):
    metrics = compose_config("metrics=[fid,prc]")["metrics"]
    for typed in ("fidelity", "kid", "fid10k", "losses"):
        with pytest.raises(UserError, match=rf"^hydra.sweeper.metric={typed} is not measured: .* fd, precision, "):
            value_of(metrics, typed)
    assert value_of({"own": {"_target_": "nowhere.Own"}}, "mine") == "mine"  # only its import shows what it measures


def test_a_direction_that_is_computed_has_to_be_given(tmp_path, monkeypatch):
    (tmp_path / "computing.py").write_text("class Own:\n    keys = ('x',)\n    lower_is_better = 1 > 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="metrics.own.*computing.Own are not literals.*hydra.sweeper.direction="):
        minimizes({"own": {"_target_": "computing.Own"}}, None)
    assert value_of({"own": {"_target_": "computing.Own"}}, "x") == "x"
