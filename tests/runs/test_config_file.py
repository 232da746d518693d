"""Stored configurations are read in today's names, and checked where they are read."""

import pytest

from inkwash.errors import UserError
from inkwash.runs import config_file
from inkwash.runs.directory import RunDirectory

# Today's names in config.yaml of a run, and those that a run of an older version has there.
OLD = {
    "inkwash.losses.simple.DiffusionLoss": "inkwash.loss.DiffusionLoss",
    "inkwash.losses.distances.L2": "inkwash.loss.L2",
    "inkwash.metrics.extractors.classifier.ClassifierFeatures": "inkwash.metrics.classifier.ClassifierFeatures",
    "inkwash.training.callbacks.loss_by_snr.LossByNoise": "inkwash.training.callbacks.noise_levels.LossByNoise",
    "inkwash.training.callbacks.finite_loss.FiniteLoss": "inkwash.training.callbacks.guard.FiniteLoss",
    "inkwash.training.callbacks.unused_parameters.IdleParameters": "inkwash.training.callbacks.idle.IdleParameters",
    "inkwash.tracking.wandb_logger.Tracker": "inkwash.training.tracking.Tracker",
    "\n  evaluation:\n": "\n  fid:\n",
}


def test_a_run_of_an_older_version_reads_the_same(tmp_path, compose_config):
    run, config = RunDirectory(tmp_path), compose_config("extractor=classifier")
    run.write_config(config)
    before, text = run.config, run.config_path.read_text()
    for today, old in OLD.items():
        assert today in text
        text = text.replace(today, old)
    run.config_path.write_text(text)
    assert run.config == before
    assert [*run.config["callbacks"]] == [*before["callbacks"]]


def test_the_file_of_a_job_is_checked_and_whole(tmp_path):
    path = tmp_path / "sample.yaml"
    path.write_text("run: x\nsampler: {_target_: inkwash.samplers.ddim.DDIM, etta: 0}\n")
    with pytest.raises(UserError, match=r"sample.yaml: sampler.etta: DDIM has no such argument; did you mean"):
        config_file.load(path)
    path.write_text("run: x\nresume: auto\n")
    assert config_file.load(path) == {"run": "x", "resume": "auto"}
    assert config_file.read(path) == {}
