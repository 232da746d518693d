"""Old names end in a sentence with today's, and stored configurations are read in today's."""

import pytest
from omegaconf import OmegaConf

from inkwash.commands import train
from inkwash.config import cli
from inkwash.config.renames import KEYS, TARGETS, in_todays_names, todays_target
from inkwash.config.signatures import definitions_of
from inkwash.errors import UserError


@pytest.mark.parametrize(
    ("typed", "today"),
    [
        ("callbacks.fid.num_images=8", "callbacks.evaluation.num_images=8"),
        ("callbacks.fid.num_images=8,16", "callbacks.evaluation.num_images=8,16"),
        ("~callbacks.fid", "~callbacks.evaluation"),
        ("+callbacks.fid.metrics.fid.x=1", "+callbacks.evaluation.metrics.fid.x=1"),
    ],
)
def test_an_old_key_ends_in_todays(typed, today, ends):
    sentence = f"error: callbacks.fid is called callbacks.evaluation now: pass {today}"
    assert ends(train.main, typed) == sentence
    with pytest.raises(UserError, match="callbacks.fid is called callbacks.evaluation now"):
        cli.compose(typed)


@pytest.mark.parametrize(
    "typed", ["loss.distance._target_=inkwash.loss.L2", "+averages={a: {_target_: inkwash.loss.L2}}"]
)
def test_an_old_target_ends_in_todays(typed, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["inkwash", typed])
    with pytest.raises(SystemExit):
        train.main()
    assert capsys.readouterr().err == (
        "error: _target_=inkwash.loss.L2 is called inkwash.losses.distances.L2 now: "
        "write _target_: inkwash.losses.distances.L2\n"
    )


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("callbacks: {fid: {num_images: 8}}", "callbacks.fid is called callbacks.evaluation now: rename it in your"),
        ("loss: {_target_: inkwash.loss.VLBLoss}", "inkwash.loss.VLBLoss is called inkwash.losses.vlb.VLBLoss now"),
    ],
)
def test_an_old_name_in_a_yaml_ends_in_todays(yaml, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"defaults: [train]\n{yaml}\n")
    monkeypatch.setattr("sys.argv", ["inkwash", "--config-dir", str(tmp_path), "--config-name", "mine"])
    with pytest.raises(SystemExit):
        train.main()
    assert said in capsys.readouterr().err


def test_every_renamed_target_is_there():
    """And every name that a stored configuration may have, of those in conf/ before the modules moved."""
    old = [
        "inkwash.loss.DiffusionLoss",
        "inkwash.loss.Huber",
        "inkwash.loss.HybridLoss",
        "inkwash.loss.L1",
        "inkwash.loss.L2",
        "inkwash.loss.PseudoHuber",
        "inkwash.loss.VLBLoss",
        "inkwash.metrics.bootstrap.FrechetInterval",
        "inkwash.metrics.classifier.ClassifierFeatures",
        "inkwash.metrics.clip.CLIPFeatures",
        "inkwash.metrics.dinov2.DINOv2Features",
        "inkwash.metrics.extrapolation.FrechetInfinity",
        "inkwash.metrics.features.InceptionFeatures",
        "inkwash.metrics.pixels.PixelFeatures",
        "inkwash.training.callbacks.guard.FiniteLoss",
        "inkwash.training.callbacks.idle.IdleParameters",
        "inkwash.training.callbacks.noise_levels.LossByNoise",
        "inkwash.training.job_tracking.JobTracker",
        "inkwash.training.metrics_csv.MetricsCsv",
        "inkwash.training.tracking.Tracker",
    ]
    for target in (*old, *(target for target in TARGETS if target.rpartition(".")[2][:1].isupper())):
        today = todays_target(target)
        assert today != target
        assert today.rpartition(".")[2] == target.rpartition(".")[2]
        definitions_of(today)
    for key in KEYS.values():
        assert "_target_" in OmegaConf.select(cli.compose(), key)


def test_an_older_run_keeps_the_meaning_of_its_data():
    folder = {"_target_": "inkwash.data.folder.Folder", "heldout_fraction": 0.1}
    stored = in_todays_names({"data": {"source": dict(folder)}})
    assert stored["data"]["source"] == {
        **folder, "splits": "none", "stratified": False, "class_order": "alphabetical",
    }  # fmt: skip
    todays = {**folder, "splits": "auto", "stratified": True, "class_order": "natural"}
    assert in_todays_names({"data": {"source": dict(todays)}})["data"]["source"] == todays
