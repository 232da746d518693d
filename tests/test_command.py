"""What is wrong with a command line is told before Hydra runs anything, or in its words made a sentence."""

import pytest
from omegaconf import OmegaConf

from inkwash.commands import dashboard, evaluate, export, import_pipeline, sample, sync, train
from inkwash.config import cli
from inkwash.config.renames import KEYS, TARGETS, todays_target
from inkwash.config.signatures import definitions_of
from inkwash.errors import UserError


def ends(monkeypatch, main, *arguments):
    """The sentence that a command ends with."""
    monkeypatch.setattr("sys.argv", ["inkwash", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, str)
    assert "\n" not in end.value.code
    assert len(end.value.code) < 500
    return end.value.code


@pytest.mark.parametrize("module", [sample, evaluate, export, import_pipeline, dashboard, sync])
@pytest.mark.parametrize("flag", ["--multirun", "-m", "--multi", "hydra.mode=MULTIRUN"])
def test_only_training_sweeps(module, flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ends(monkeypatch, module.main, flag, "run=x").startswith(f"error: {flag} is for train only: leave it out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.path=/tmp/\udcff", r"error: 'data.path=/tmp/\udcff' is not UTF-8 text: rename the file"),
        ("data.path='/tmp/\udcff'", "is not UTF-8 text: rename the file"),
        ("data.path=/tmp/é", "data.path=/tmp/é has a letter that must stand in quotes: 'key=\"value\"'"),
        (f"seed={'[' * 1000}", "error: seed=[[["),
        (f"seed={'[' * 1000}{']' * 1000}", "too many brackets within each other"),
    ],
    ids=["bytes", "bytes in quotes", "letter", "open", "nested"],
)
@pytest.mark.parametrize("module", [train, evaluate])
def test_what_cannot_be_parsed_is_named(module, argument, sentence, monkeypatch):
    assert sentence in ends(monkeypatch, module.main, argument)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sampler.spacing.steps=20", "spacing.steps"),
        ("sampler.steps=20", "spacing.steps"),
        ("callbacks.samples.sampler.eta=1", "sampler.eta, of sampler=ddim or ddim_dynamic or euler"),
        ("loss.weighting.gamma=5", "weighting.gamma, of weighting=min_snr or p2 or soft_min_snr"),
        (
            "callbacks.evaluation.extractor.weight_path=x",
            "extractor.weights_path, of extractor=clip or dinov2 or inception",
        ),
        ("optimizer.lrr=1", "optimizer.lr"),
        ("callbacks.samples.num_image=1", "callbacks.samples.num_images, of callbacks=default"),
        ("callbacks.evaluation.num_image=1", "callbacks.evaluation.num_images, of callbacks=default"),
        ("sed=1", "seed"),
    ],
)
def test_the_key_that_was_meant_is_named(typed, meant, monkeypatch):
    assert ends(monkeypatch, train.main, typed).endswith(f"; did you mean {meant}?")


def test_a_mistake_found_after_a_job_is_a_sentence_and_a_bug_is_not(monkeypatch):
    def raising(error):
        def task(_config):
            raise error

        return lambda: cli.run(task, "train")

    sentence = "hydra.sweeper.metric=nope was not measured"
    assert ends(monkeypatch, raising(UserError(sentence))) == f"error: {sentence}"
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())()


@pytest.mark.parametrize(
    ("typed", "today"),
    [
        ("callbacks.fid.num_images=8", "callbacks.evaluation.num_images=8"),
        ("callbacks.fid.num_images=8,16", "callbacks.evaluation.num_images=8,16"),
        ("~callbacks.fid", "~callbacks.evaluation"),
        ("+callbacks.fid.metrics.fid.x=1", "+callbacks.evaluation.metrics.fid.x=1"),
    ],
)
def test_an_old_key_ends_in_todays(typed, today, monkeypatch):
    sentence = f"error: callbacks.fid is called callbacks.evaluation now: pass {today}"
    assert ends(monkeypatch, train.main, typed) == sentence
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
