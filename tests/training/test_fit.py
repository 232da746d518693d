"""Training in one process: averages, checkpoints, cadences, guards."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.errors import UserError, user_error
from inkwash.metrics.extractors import classifier
from inkwash.run import load_run
from inkwash.training.build import build_module
from inkwash.training.compile import compile_network

NO_METRIC = "~callbacks.evaluation"


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def checkpoint(directory, name="last.ckpt"):
    # The default of torch.load is weights_only=True: every file of ours must pass it.
    return torch.load(directory / "checkpoints" / name, weights_only=True)


def rows(directory):
    with open(directory / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_run_leaves_everything_in_its_directory(fit_run):
    directory, trainer, _ = fit_run("run")
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    assert files == [
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/step-00000002.ckpt",
        "checkpoints/step-00000004.ckpt", "config.yaml", "metrics.csv", "metrics.jsonl", "run.json",
        "samples/step-00000002.png", "samples/step-00000004.png", "summary.json", "train.log",
    ]  # fmt: skip
    assert not any(set("= ,()#$") & set(name) for name in files)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["steps"] == trainer.global_step == 4
    assert summary["images"] == 64
    record = summary["metrics"]["fd_classifier_8"]
    assert record["value"] >= 0
    expected = {
        "n_real": 450,
        "n_fake": 8,
        "extractor": "classifier",
        "weights": "ema",
        "sampler": "Ancestral",
        "steps": 2,
    }
    assert expected.items() <= record.items()
    assert summary["loss"] == pytest.approx(rows(directory)[-1]["train/loss"])


def test_each_sample_beside_its_nearest_training_image(fit_run):
    directory, trainer, _ = fit_run("run", NO_METRIC, "callbacks.samples.neighbours=true")
    drawn, pairs = (
        torch.from_numpy(np.array(Image.open(directory / "samples" / f"{name}step-00000004.png").convert("L")))
        for name in ("", "neighbours-")
    )
    # Of each tile of 64 x 64 and its gap of 2 one pixel in 8, which is the image.
    tiles = [
        sheet[2:, 2:].unfold(0, 64, 66).unfold(1, 64, 66)[:, :, ::8, ::8].flatten(0, 1) for sheet in (drawn, pairs)
    ]
    assert torch.equal(tiles[1][::2], tiles[0])
    train = trainer.datamodule.train.images[:, 0]
    nearest = (tiles[0][:, None].double() - train.double()).flatten(2).norm(dim=2).argmin(dim=1)
    assert torch.equal(tiles[1][1::2], train[nearest])


def test_metrics_csv_has_a_row_a_step(fit_run):
    directory, _, _ = fit_run("run")
    table = rows(directory)
    assert [row["step"] for row in table] == [0, 2, 4]
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "train/images_per_second"} <= table[1].keys()
    assert {"metrics/fd_classifier_8", "metrics/accuracy_classifier_8"} <= table[2].keys()


def test_resume_is_a_continuation(fit_run):
    """4 steps at once, or 2 and then 2 more: the same bits in weights, averages and optimizer."""
    options = (NO_METRIC, "learning_rate.total_steps=4", "model.dropout=0.2", "data.batch_size=24", "ema.exponent=3")
    whole, _, _ = fit_run("whole", *options)
    fit_run("parts", *options, "trainer.max_steps=2")
    parts, trainer, _ = fit_run("parts", *options)
    assert trainer.global_step == 4
    a, b = checkpoint(whole), checkpoint(parts)
    assert a["state_dict"].keys() == b["state_dict"].keys()
    assert all(torch.equal(a["state_dict"][k], b["state_dict"][k]) for k in a["state_dict"])
    for x, y in zip(*(c["optimizer_states"][0]["state"].values() for c in (a, b)), strict=True):
        assert all(torch.equal(x[k], y[k]) for k in x)
    drop = "train/images_per_second"
    assert [{k: v for k, v in r.items() if k != drop} for r in rows(whole)] == [
        {k: v for k, v in r.items() if k != drop} for r in rows(parts)
    ]


def test_looking_changes_nothing(fit_run):
    """Loss and weights are bit-identical with grids and metrics and without."""
    watched, _, module = fit_run("watched", "callbacks.samples.every_n_steps=1", "callbacks.evaluation.every_n_steps=1")
    alone, _, other = fit_run("alone", NO_METRIC, "~callbacks.samples")
    assert torch.equal(weights(module.denoiser), weights(other.denoiser))
    assert [row["train/loss"] for row in rows(watched) if row["step"] in (2, 4)] == [
        row["train/loss"] for row in rows(alone)
    ]


def test_grids_start_from_the_same_noise(fit_run):
    """With a learning rate of 0 nothing changes between two grids, so nothing may differ."""
    directory, _, _ = fit_run("run", NO_METRIC, "optimizer.lr=0.0")
    first, second = ((directory / "samples" / f"step-0000000{k}.png").read_bytes() for k in (2, 4))
    assert first == second


def test_checkpoint_keeps_raw_and_average_apart_and_nothing_else(fit_run):
    directory, _, module = fit_run("run")
    state = checkpoint(directory)["state_dict"]
    assert {key.split(".")[0] for key in state} == {"denoiser", "ema_denoiser"}
    assert all(key.split(".")[1] == "net" for key in state)
    raw, average = load_run(directory, weights="raw").denoiser, load_run(directory).denoiser
    assert torch.equal(weights(raw), weights(module.denoiser))
    assert torch.equal(weights(average), weights(module.ema_denoiser))
    assert not torch.equal(weights(raw), weights(average))


def test_average_of_the_first_step_is_the_step(fit_run):
    directory, _, _ = fit_run("run", NO_METRIC, "trainer.max_steps=1")
    raw, average = (load_run(directory, weights=w).denoiser for w in ("raw", "ema"))
    assert torch.equal(weights(raw), weights(average))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_average_an_optimizer_step(fit_run, accumulate, monkeypatch):
    calls = []
    from inkwash.training import ema

    update = ema.update
    monkeypatch.setattr(ema, "update", lambda *a: (calls.append(a[2]), update(*a)))
    fit_run("run", NO_METRIC, f"trainer.accumulate_grad_batches={accumulate}")
    assert calls == [(1 - 1 / n) ** 16 for n in (1, 2, 3, 4)]


def test_accumulation_trains_on_the_same_global_batch(fit_run):
    """16 images at once, or 8 and 8: the same draws, so the same weights up to rounding."""
    _, _, whole = fit_run("whole", NO_METRIC)
    _, _, parts = fit_run("parts", NO_METRIC, "trainer.accumulate_grad_batches=2")
    torch.testing.assert_close(weights(whole.denoiser), weights(parts.denoiser), rtol=1e-3, atol=1e-5)


def test_ema_never_drops_out(fit_run):
    _, _, module = fit_run("run", NO_METRIC, "model.dropout=0.5")
    module.train()
    assert module.denoiser.training
    assert not any(m.training for m in module.ema_denoiser.modules())


def test_last_is_last_and_best_is_when_the_metric_was_best(fit_run):
    scores = "+callbacks.fixed={_target_: fakes.FixedScores, scores: {1: 5.0, 2: 1.5, 3: 9.0, 5: 1.4, 6: 3.0}}"
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
def test_the_best_of_what_had_better_be_large_is_the_largest(fit_run, name, mode, step):
    scores = "scores: {1: 0.5, 3: 0.9, 5: 0.4}, lower_is_better: false"
    fixed = f"+callbacks.fixed={{_target_: fakes.FixedScores, name: {name}, {scores}}}"
    best = "+callbacks.best2._target_=inkwash.training.callbacks.checkpoints.BestCheckpoint"
    mode = f"+callbacks.best2.mode={mode or 'null'}"
    options = (NO_METRIC, "~callbacks.best", fixed, best, mode, "+callbacks.best2.monitor=acc", "trainer.max_steps=6")
    directory, _, _ = fit_run("run", *options)
    assert checkpoint(directory, "best.ckpt")["global_step"] == step


def test_unknown_monitor_is_refused_before_training(fit_run, tmp_path):
    with pytest.raises(UserError, match="monitor=kid is none of the metrics fd_classifier_8"):
        fit_run("run", "callbacks.best.monitor=kid")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_best_score_survives_a_resume(fit_run):
    """A worse score after a resume leaves best.ckpt alone."""
    best = "+callbacks.best2={_target_: inkwash.training.callbacks.checkpoints.BestCheckpoint}"
    last = "+callbacks.last2={_target_: inkwash.training.callbacks.checkpoints.ResumeCheckpoint, every_n_steps: 1}"
    for scores, steps in (("{2: 1.5}", 2), ("{4: 7.0}", 4)):
        fixed = f"+callbacks.fixed={{_target_: fakes.FixedScores, scores: {scores}}}"
        options = (NO_METRIC, "~callbacks.best", "~callbacks.checkpoint", fixed, best, last)
        directory, _, _ = fit_run("run", *options, f"trainer.max_steps={steps}")
    assert checkpoint(directory, "best.ckpt")["global_step"] == 2
    assert checkpoint(directory)["global_step"] == 4


def test_default_callbacks_save_after_they_measured(compose_config):
    names = list(compose_config()["callbacks"])
    assert names.index("evaluation") < names.index("best") < names.index("checkpoint")


def test_resume_from_before_the_death_repeats_no_rows(fit_run, tmp_path):
    """A run that dies at step 7 goes on from step 4: every row once, and the records of metrics too."""
    options = ("trainer.max_steps=8", "callbacks.evaluation.every_n_steps=2", "callbacks.checkpoint.every_n_steps=4")
    bomb = "+callbacks.bomb={_target_: fakes.Bomb, rank: 0, step: 7}"
    with pytest.raises(RuntimeError, match="the bomb went off"):
        fit_run("run", *options, bomb)
    assert checkpoint(tmp_path / "run")["global_step"] == 4
    directory, _, _ = fit_run("run", *options)
    assert [row["step"] for row in rows(directory)] == [0, 2, 4, 6, 8]
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["name"] == "fd_classifier_8"] == [2, 4, 6, 8]


def test_a_finished_run_is_left_as_it_is(fit_run):
    directory, _, _ = fit_run("run", NO_METRIC)
    before = {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file() and p.name != "train.log"}
    fit_run("run", NO_METRIC)
    assert before == {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file() and p.name != "train.log"}


def test_a_checkpoint_of_another_model_is_refused(fit_run, tmp_path):
    fit_run("run", NO_METRIC)
    with pytest.raises(UserError, match="checkpoint of another prediction"):
        fit_run("run", NO_METRIC, "prediction=eps", "trainer.max_steps=6")


def test_data_without_labels_trains_without_the_classifiers_distance(fit_run):
    source = ("~data.source", "+data.source={_target_: fakes.Pictures, labelled: false}", "data.num_classes=null")
    directory, trainer, module = fit_run("run", *source)
    assert trainer.global_step == 4
    assert [*module.scores] == ["heldout_loss"]
    assert "needs labels" in (directory / "train.log").read_text()


def test_nan_loss_stops_with_step_and_times_and_keeps_the_last_good_checkpoint(fit_run, tmp_path):
    ruin = "+callbacks.ruin={_target_: fakes.Ruin, step: 5}"
    with pytest.raises(UserError, match=r"step 6 \(t from \d+ to \d+, precision 32-true\).*last good checkpoint"):
        fit_run("run", NO_METRIC, ruin, "trainer.max_steps=12", "callbacks.guard.every_n_steps=3")
    state = checkpoint(tmp_path / "run")
    assert state["global_step"] == 4
    assert all(bool(value.isfinite().all()) for value in state["state_dict"].values())


def test_cadences_count_steps_whatever_the_size_of_the_data(fit_run):
    options = (NO_METRIC, "data.shape=[1,8,8]", "~data.source", "trainer.max_steps=6")
    names = []
    for n in (10, 1000):
        source = f"+data.source={{_target_: fakes.Pictures, n: {n}}}"
        directory, _, _ = fit_run(f"n{n}", *options, source)
        names.append((sorted(p.name for p in directory.rglob("step-*.png")), [row["step"] for row in rows(directory)]))
    assert names[0] == names[1]
    assert names[0][0] == ["step-00000002.png", "step-00000004.png", "step-00000006.png"]


@pytest.mark.parametrize("shape", ["[1,28,28]", "[3,32,48]", "[4,16,16]"])
def test_any_shape_trains_samples_and_is_measured(fit_run, shape, monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 10)  # a poor judge is judge enough here
    source = "+data.source={_target_: fakes.Pictures}"
    directory, _, module = fit_run(
        "run",
        "~data.source",
        source,
        f"data.shape={shape}",
        "trainer.max_steps=2",
        "callbacks.evaluation.every_n_steps=2",
    )
    assert module.scores["fd_classifier_8"] >= 0
    run = load_run(directory)
    assert list(run.shape) == json.loads(shape)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "32-true"])
def test_precisions_stay_finite_with_exact_tables(fit_run, precision):
    _, _, module = fit_run("run", NO_METRIC, f"trainer.precision={precision}", "trainer.max_steps=20")
    assert bool(weights(module.denoiser).isfinite().all())
    # A bf16 average would round every small change away.
    assert all(p.dtype == torch.float32 for p in module.ema_denoiser.parameters())
    distance = (weights(module.ema_denoiser) - weights(module.denoiser).float()).norm()
    assert 0 < distance < 0.1 * weights(module.denoiser).float().norm()
    assert module.denoiser.schedule.alpha.dtype == torch.float64
    assert module.ema_denoiser.schedule.sigma.dtype == torch.float64


def test_compiled_networks_have_the_same_keys(compose_config):
    plain = build_module(compose_config("model.channels=8"))
    compiled = build_module(compose_config("model.channels=8"))
    for denoiser in (compiled.denoiser, compiled.ema_denoiser):
        compile_network(denoiser.net, backend="aot_eager")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 900.0])
    torch.testing.assert_close(plain.denoiser(x, t), compiled.denoiser(x, t))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    plain.load_state_dict(compiled.state_dict())


@pytest.mark.slow
def test_sixteen_images_are_learnt_by_heart(fit_run):
    """Samples of a model of 16 images lie near them, where fresh images of the same kind do not."""
    options = ("~data.source", "+data.source={_target_: fakes.Pictures, n: 16}", "data.num_classes=null", NO_METRIC)
    scale = (
        "trainer.max_steps=500",
        "weighting=min_snr",
        "optimizer.lr=0.002",
        "model.channels=32",
        "callbacks.log.every_n_steps=20",
        "loss.label_dropout=0.0",
    )
    cadence = ("callbacks.checkpoint.every_n_steps=500", "~callbacks.samples", "learning_rate.warmup_steps=20")
    directory, trainer, _ = fit_run("run", *options, *scale, *cadence)
    losses = [row["train/loss"] for row in rows(directory) if "train/loss" in row]
    assert sum(losses[-5:]) / 5 < 0.3 * losses[0]
    from inkwash.process.spacing import Trailing
    from inkwash.samplers.ddim import DDIM

    samples = load_run(directory).sample(DDIM(Trailing(25)), 32).float()
    train = trainer.datamodule.train.images.float()
    fresh = trainer.datamodule.heldout.images.float()
    nearest, control = (
        torch.cdist(x.flatten(1), train.flatten(1)).min(dim=1).values.median() for x in (samples, fresh)
    )
    assert nearest < 0.6 * control


def test_wrong_configurations_end_in_a_sentence(fit_run):
    cases = {
        "multiple": ("trainer.accumulate_grad_batches=3",),
        "data.shape": ("data.shape=[3,8,8]",),
        "multiples of 2": ("data.shape=[1,9,9]",),
        "ill-posed": ("schedule=flow", "prediction=eps"),
        "more than the schedule's T=1000": ("spacing.steps=2000",),
        "must be one of auto": ("trainer.precision=bf17",),
        "torch sees no GPU": ("trainer.accelerator=gpu",),
        "num_heads=3 must divide": ("model.num_heads=3",),
        "unexpected keyword argument 'foo'": ("+optimizer.foo=1",),
        "classes|labels": ("data.num_classes=5",),
    }
    for sentence, overrides in cases.items():
        with pytest.raises(Exception) as error:
            fit_run("bad", NO_METRIC, *overrides)
        mistake = user_error(error.value)
        assert mistake is not None, (overrides, error.value)
        assert re.search(sentence, str(mistake)), str(mistake)
        assert "\n" not in str(mistake)


# --- Objectives with a state of their own -----------------------------------------------------------------------------

SHORT = ("schedule.betas.T=20", "times.history=1")
OBJECTIVES = {
    "vlb": ("loss=vlb", "times=importance", *SHORT),
    "learned variance": ("model.learn_variance=true", "loss=hybrid", "prediction=eps", "times=importance", *SHORT),
    "uncertainty": ("weighting=uncertainty",),
    "mu": ("prediction=mu", "weighting=vlb"),
}


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_objective_resumes_with_its_state(fit_run, options):
    """3 + 3 steps are 6 steps, bit for bit: importance has seen every t of 20 after 2 batches of 16, and steers."""
    options = (*options, NO_METRIC, "~callbacks.samples", "learning_rate.total_steps=6")
    whole, _, module = fit_run("whole", *options, "trainer.max_steps=6")
    fit_run("parts", *options, "trainer.max_steps=3")
    parts, _, _ = fit_run("parts", *options, "trainer.max_steps=6")
    a, b = checkpoint(whole)["state_dict"], checkpoint(parts)["state_dict"]
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    if "times=importance" in options:
        assert int(a["loss.times.counts"].sum()) == 6 * 16
        assert module.loss.times.probabilities().std() > 0
    if "weighting=uncertainty" in options:
        assert a["loss.weighting.linear.weight"].abs().max() > 0


def test_importance_learns_the_same_from_accumulated_batches(fit_run):
    options = ("loss=vlb", "times=importance", *SHORT, NO_METRIC, "~callbacks.samples", "optimizer.lr=0.0")
    _, _, whole = fit_run("whole", *options)
    _, _, parts = fit_run("parts", *options, "trainer.accumulate_grad_batches=2")
    torch.testing.assert_close(whole.loss.times.losses, parts.loss.times.losses, rtol=1e-4, atol=1e-5)
    assert torch.equal(whole.loss.times.counts, parts.loss.times.counts)


def test_a_learned_variance_is_sampled_from(fit_run):
    """The second head reaches the sampler: another head, other images; and a network without it is refused."""
    learned = "sampler.variance._target_=inkwash.process.variances.LearnedRange"
    hybrid = ("model.learn_variance=true", "loss=hybrid", "sampler=ancestral", NO_METRIC)
    directory, _, _ = fit_run("learned", *hybrid, learned)
    from inkwash.config.instantiate import build
    from inkwash.runs.directory import RunDirectory

    run, sampler = load_run(directory), build(RunDirectory(directory).config["sampler"])
    before = run.sample(sampler, 4)
    run.denoiser.net.output[2].bias.data[1:] += 1
    assert not torch.equal(run.sample(sampler, 4), before)
    with pytest.raises(UserError, match="needs a network that learns it"):
        fit_run("fixed", NO_METRIC, "sampler=ancestral", learned)
