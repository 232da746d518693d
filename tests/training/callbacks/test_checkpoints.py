"""The newest checkpoints and the best one."""

import pytest

from inkwash.errors import UserError
from support.training import NO_METRIC, checkpoint


def test_last_is_last_and_best_is_when_the_metric_was_best(fit_run):
    scores = "+callbacks.fixed={_target_: support.parts.FixedScores, scores: {1: 5.0, 2: 1.5, 3: 9.0, 5: 1.4, 6: 3.0}}"
    # Callbacks run in the order of the configuration; `best` must come after the scores.
    best = "+callbacks.best2={_target_: inkwash.training.callbacks.checkpoints.BestCheckpoint, monitor: fd_}"
    directory, _, _ = fit_run("run", NO_METRIC, "~callbacks.best", scores, best, "trainer.max_steps=7")
    names = sorted(path.name for path in (directory / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step-00000006.ckpt", "step-00000007.ckpt"]
    assert checkpoint(directory)["global_step"] == 7
    stored = checkpoint(directory, "best.ckpt")
    assert stored["global_step"] == 5
    assert stored["scores"] == {"step": 5, "fd_test_8": 1.4}


@pytest.mark.parametrize(("name", "mode", "step"), [("accuracy_test_8", None, 3), ("accuracy_test_8", "min", 5)])
def test_the_best_accuracy_is_the_largest(fit_run, name, mode, step):
    fixed = (
        f"+callbacks.fixed={{_target_: support.parts.FixedScores, name: {name}, lower_is_better: false, "
        "scores: {1: 0.5, 3: 0.9, 5: 0.4}}"
    )
    best = "+callbacks.best2._target_=inkwash.training.callbacks.checkpoints.BestCheckpoint"
    mode = f"+callbacks.best2.mode={mode or 'null'}"
    options = (NO_METRIC, "~callbacks.best", fixed, best, mode, "+callbacks.best2.monitor=acc", "trainer.max_steps=6")
    directory, _, _ = fit_run("run", *options)
    assert checkpoint(directory, "best.ckpt")["global_step"] == step


def test_unknown_monitor_is_refused_before_training(fit_run, tmp_path):
    with pytest.raises(UserError, match="monitor=kid is not one of the metrics fd_classifier_8"):
        fit_run("run", "callbacks.best.monitor=kid")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_best_score_survives_a_resume(fit_run):
    """A worse score after a resume leaves best.ckpt alone."""
    best = "+callbacks.best2={_target_: inkwash.training.callbacks.checkpoints.BestCheckpoint}"
    last = "+callbacks.last2={_target_: inkwash.training.callbacks.checkpoints.ResumeCheckpoint, every_n_steps: 1}"
    for scores, steps in (("{2: 1.5}", 2), ("{4: 7.0}", 4)):
        fixed = f"+callbacks.fixed={{_target_: support.parts.FixedScores, scores: {scores}}}"
        options = (NO_METRIC, "~callbacks.best", "~callbacks.checkpoint", fixed, best, last)
        directory, _, _ = fit_run("run", *options, f"trainer.max_steps={steps}")
    assert checkpoint(directory, "best.ckpt")["global_step"] == 2
    assert checkpoint(directory)["global_step"] == 4


def test_default_callbacks_save_after_they_measured(compose_config):
    names = list(compose_config()["callbacks"])
    assert names.index("evaluation") < names.index("best") < names.index("checkpoint")
