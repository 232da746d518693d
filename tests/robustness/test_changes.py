"""Changed keys on a resume: each is reported and follows its rule. init_from takes weights and nothing else."""

import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from inkwash.config.paths import config_dir
from inkwash.errors import UserError
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.runs.resume_check import RULES, changes, described, forbidden
from support.run_diff import checkpoint, rows
from support.selection import mostly_slow

BARE = ("~callbacks.evaluation", "learning_rate.total_steps=20", "learning_rate.warmup_steps=2")
STEPS = ("trainer.max_steps=4", "callbacks.checkpoint.every_n_steps=2", "callbacks.log.every_n_steps=1")
MORE = ("trainer.max_steps=6", *STEPS[1:])


def log_of(directory):
    return (directory / "train.log").read_text()


# --- The table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("model.channels", "forbidden"),
        ("schedule.betas.T", "forbidden"),
        ("prediction._target_", "forbidden"),
        ("data.source.heldout", "forbidden"),
        ("data.source.cache_dir", "applied"),
        ("data.sources", "applied"),
        ("data.path", "applied"),
        ("data.batch_size", "applied"),
        ("optimizer._target_", "forbidden"),
        ("optimizer.lr", "applied"),
        ("trainer.max_steps", "applied"),
        ("seed", "applied"),
        ("loss.vlb_weight", "applied"),
        ("init_from", "ignored"),
    ],
)
def test_every_key_has_the_rule_of_the_longest_name_that_fits(key, rule):
    nodes = []
    for value in (1, 2):
        node = value
        for part in reversed(key.split(".")):
            node = {part: node}
        nodes.append(node)
    (change,) = changes(*nodes)
    assert (change.key, change.old, change.new, change.rule) == (key, 1, 2, rule)


def test_every_rule_is_of_a_key_that_is_there(compose_config):
    config = compose_config("data=parquet_stream", "data.path=x", "data.shape=[3,8,8]", "optimizer=muon")
    config["autoencoder"] = OmegaConf.to_container(OmegaConf.load(f"{config_dir()}/autoencoder/kl.yaml"))
    for name in RULES:
        node = config
        for part in filter(None, name.split(".")):
            assert part in node, name
            node = node[part]


def test_an_imported_run_chooses_its_data_before_the_first_step():
    old, new = {"data": {"source": 1}, "model": 2}, {"data": {"source": 3}, "model": 2}
    assert forbidden(old, new, step=0) is None
    assert forbidden(old, new, step=1).key == "data.source"
    assert forbidden(old, new, step=None).key == "data.source"
    assert forbidden(old, {**old, "model": 3}, step=0).key == "model"


def test_many_changes_are_counted():
    lines = described(changes({}, {"a": {str(i): i for i in range(25)}}))
    assert len(lines) == 21
    assert lines[-1] == "and 5 more: config.yaml has them"
    assert described([]) == []


# --- Applied ----------------------------------------------------------------------------------------------------------


def test_a_resume_says_what_changed(new_run):
    directory = new_run("run", *STEPS, "optimizer.lr=0.002")
    train(directory)
    train(new_run("run", *MORE, "optimizer.lr=0.001", "seed=3", "init_from=nowhere"))
    log = log_of(directory)
    for line in (
        "changed      trainer.max_steps: 4 -> 6 (applied)",
        "changed      optimizer.lr: 0.002 -> 0.001 (applied)",
        "changed      seed: 0 -> 3 (applied: the noise and times are others from here on)",
        "changed      init_from: None -> nowhere (ignored: the run has weights of its own)",
    ):
        assert line in log
    assert log.count("changed ") == 5  # data.seed too, which is the seed's


@pytest.mark.slow
def test_new_config_is_accepted_with_the_first_checkpoint(new_run):
    """So that config.yaml is always one that the checkpoints were trained with."""
    directory = new_run("run", *STEPS, "optimizer=adamw")
    train(directory)
    before = RunDirectory(directory).config
    RunDirectory(directory).write_next_config(
        {**before, "optimizer": {**before["optimizer"], "_target_": "torch.optim.Adam"}}
    )
    with pytest.raises(UserError, match=r"holds a checkpoint of another optimizer._target_"):
        train(directory)
    assert RunDirectory(directory).config == before
    after = {**before, "seed": 3, "trainer": {**before["trainer"], "max_steps": 6}}
    RunDirectory(directory).write_next_config(after)
    train(directory)
    assert RunDirectory(directory).config == after
    assert not RunDirectory(directory).next_config_path.exists()


@pytest.mark.slow
def test_nothing_else_is_said_to_have_changed(new_run):
    bomb = "+callbacks.bomb={{_target_: support.parts.Bomb, rank: {}, step: 3}}"
    with pytest.raises(RuntimeError, match="the bomb went off"):
        train(new_run("run", *STEPS, bomb.format(0)))
    directory = new_run("run", *STEPS, bomb.format(1))
    train(directory)
    assert [line[24:] for line in log_of(directory).splitlines() if "changed " in line] == [
        "changed      callbacks.bomb.rank: 0 -> 1 (applied)"
    ]


@pytest.mark.slow
def test_new_options_of_the_optimizer_count(new_run):
    """From the first step on, also those that were dropped again; what the optimizer has learnt stays."""
    directory = new_run("run", *STEPS, "optimizer=adamw", "+optimizer.eps=0.5")
    train(directory)
    new = ("optimizer=adamw", "optimizer.lr=0.001", "optimizer.betas=[0.8,0.9]", "optimizer.weight_decay=0.1")
    train(new_run("run", *MORE, *new, "learning_rate.warmup_steps=10"))
    (group,) = checkpoint(directory)["optimizer_states"][0]["param_groups"]
    assert (*group["betas"], group["weight_decay"], group["eps"]) == (0.8, 0.9, 0.1, 1e-8)
    assert [float(row["train/learning_rate"]) for row in rows(directory)[-2:]] == pytest.approx([0.0006, 0.0007])
    assert group["initial_lr"] == 0.001
    steps = {int(state["step"]) for state in checkpoint(directory)["optimizer_states"][0]["state"].values()}
    assert steps == {6}


@pytest.mark.slow
def test_another_batch_size_goes_on_in_the_stream_of_images(new_run):
    witness = "+callbacks.witness._target_=support.parts.Witness"
    directory, other = (new_run(name, *STEPS, witness) for name in ("run", "other"))
    train(directory)
    train(new_run("run", *MORE, witness, "data.batch_size=32"))
    train(new_run("other", *MORE, witness, "data.batch_size=32"))
    images = [torch.load(run / "witness-0-6.pt")["images"] for run in (directory, other)]
    assert len(images[0]) == 32
    assert torch.equal(*images)


@pytest.mark.slow
def test_images_that_changed_are_noticed(new_run):
    pictures = "+data.source={{_target_: support.parts.Pictures, n: {}}}"
    directory = new_run("run", *STEPS, "~data.source", pictures.format(60))
    train(directory)
    stored = checkpoint(directory)
    stored["images"] = "other"
    for path in (directory / "checkpoints").glob("*.ckpt"):
        torch.save(stored, path)
    train(new_run("run", *MORE, "~data.source", pictures.format(60)))
    assert "the training images are not those of the checkpoint: the files of data.path have" in log_of(directory)


@pytest.mark.slow
def test_a_metric_of_another_name_starts_anew_with_best(new_run):
    """A better value of another metric says nothing."""
    best = "+callbacks.best2={_target_: inkwash.training.callbacks.checkpoints.BestCheckpoint, monitor: fd_}"
    fixed = "+callbacks.fixed={{_target_: support.faults.Scores, name: {}, step: {}, score: {}}}"
    options = ("~callbacks.best", "~callbacks.heldout")
    directory = new_run("run", *STEPS, *options, fixed.format("fd_a", 2, 0.1), best)
    train(directory)
    train(new_run("run", *MORE, *options, fixed.format("fd_b", 5, 7.0), best))
    assert checkpoint(directory, "best.ckpt")["global_step"] == 5


# --- Forbidden --------------------------------------------------------------------------------------------------------

REFUSED = {
    "model.channels=16": r"run holds a checkpoint of another model.channels \(8 there, 16 now\), and the weights fit",
    "schedule=linear": "another schedule.betas.*from its weights with run=NAME init_from=",
    "prediction=eps": r"another prediction._target_ \(.*V there, .*Eps now\)",
    "optimizer=adam": "an optimizer's state fits no other",
    "data.source.heldout=449": "other images are another run",
    "weighting=uncertainty": "loss.weighting.*keep loss, weighting and times as they were",
    "times=importance": "loss.times.*keep loss, weighting and times as they were",
}


@pytest.mark.slow
def test_what_a_checkpoint_cannot_go_on_with_is_refused(new_run):
    directory = new_run("run", *STEPS)
    train(directory)
    for change, sentence in REFUSED.items():
        with pytest.raises(UserError, match=sentence) as error:
            train(new_run("run", *MORE, change))
        assert "\n" not in str(error.value)
        assert checkpoint(directory)["global_step"] == 4


def start(tmp_path, *options):
    """The command, which must not come as far as its ranks; what it says."""
    quick = ("debug=fast", "logger=csv", "model.channels=8", "data.batch_size=16", "run=job")
    command = [sys.executable, "-m", "inkwash.train", *quick, *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "batch " not in result.stderr
    return result.stderr


@pytest.mark.slow
def test_the_launcher_refuses_at_once(new_run, tmp_path):
    directory = new_run("runs/job", *STEPS)
    train(directory)
    before = (directory / "config.yaml").read_bytes()
    assert start(tmp_path, "resume=never").startswith("error: resume=never, but runs/job already holds a run")
    assert "runs/job holds a checkpoint of another model.channels (8 there, 16 now)" in start(
        tmp_path, *BARE, "trainer=cpu", "trainer.precision=32-true", "model.channels=16"
    )
    assert (directory / "config.yaml").read_bytes() == before
    for path in (directory / "checkpoints").iterdir():
        path.unlink()
    assert "resume=must, but there is no runs/job/checkpoints/last.ckpt" in start(tmp_path, "resume=must")


# --- Weights only -----------------------------------------------------------------------------------------------------


def weights(denoiser):
    return [p.detach() for p in denoiser.net.parameters()]


@pytest.mark.parametrize("how", mostly_slow(["directory", "file", "damaged"], "directory"))
def test_init_from_takes_the_averaged_weights_and_nothing_else(new_run, how):
    source = new_run("source", *STEPS)
    train(source)
    expected, step, given = load_run(source).denoiser, 4, source
    if how == "file":
        given, step = source / "checkpoints" / "step-00000002.ckpt", 2
        expected = load_run(source, "step-00000002.ckpt").denoiser
    if how == "damaged":
        with open(source / "checkpoints" / "step-00000004.ckpt", "r+b") as file:
            file.truncate(1000)
        step, expected = 2, load_run(source, "step-00000002.ckpt").denoiser
    # Another path, data order and optimizer; at a rate of 0 the weights stay to be looked at.
    other = ("schedule=linear", "seed=5", "optimizer=adam", "optimizer.lr=0.0", "trainer.max_steps=1")
    directory = new_run("other", *STEPS, *other, f"init_from={given}")
    _, module = train(directory)
    for denoiser in (module.denoiser, module.ema_denoiser):
        assert all(torch.equal(a, b) for a, b in zip(weights(denoiser), weights(expected), strict=True))
    log = log_of(directory)
    assert f"averaged, after step {step}" in log
    assert "differs      schedule.betas._target_: inkwash.process.betas.cosine there" in log
    assert {int(state["step"]) for state in checkpoint(directory)["optimizer_states"][0]["state"].values()} == {1}
    assert rows(directory)[0]["step"] == "1"


@pytest.mark.slow
def test_init_from_another_network_or_nothing_is_refused(new_run, tmp_path):
    source = new_run("source", *STEPS)
    train(source)
    with pytest.raises(UserError, match="init_from=.*is of another network: choose its model"):
        train(new_run("other", *STEPS, f"init_from={source}", "model.channels=16"))
    with pytest.raises(UserError, match="is neither a checkpoint nor a run directory"):
        train(new_run("third", *STEPS, "init_from=nowhere"))
    with pytest.raises(UserError, match="has no checkpoint yet"):
        train(new_run("fourth", *STEPS, f"init_from={new_run('empty')}"))


def test_a_wrong_init_from_is_told_within_a_second_or_so(tmp_path):
    command = [sys.executable, "-m", "inkwash.train", "init_from=nowhere", "run=x"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: init_from=nowhere is neither a checkpoint nor a run directory\n"
    assert list(tmp_path.iterdir()) == []
