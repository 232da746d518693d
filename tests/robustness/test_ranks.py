"""Two ranks are one process that takes turns: the same curve, and one exchange of gradients a step."""

import re

import pytest
import torch

from support.networks import EDM2, SONG
from support.run_diff import checkpoint, differences, rows
from support.runs import DIT

OPTIONS = ("callbacks.log.every_n_steps=1", "callbacks.guard.every_n_steps=1", "trainer.max_steps=6")
TWO = ("trainer=ddp_cpu", "trainer.devices=2", "+callbacks.exchanges._target_=support.parts.Exchanges")


def curve(directory):
    return [float(row["train/loss"]) for row in rows(directory) if row.get("train/loss")]


@pytest.mark.parametrize("counts", [[4], pytest.param([1, 2], marks=pytest.mark.slow)], ids=str)
def test_two_ranks_train_as_one_with_one_all_reduce_a_step(new_run, jobs, counts):
    """However many micro-batches make up a step: all but the last keep their gradients to themselves."""
    alone = new_run("alone", *OPTIONS)
    assert jobs.run(alone) == 0
    weights = checkpoint(alone)["state_dict"]
    for parts in counts:
        directory = new_run(f"parts{parts}", *OPTIONS, *TWO, f"trainer.accumulate_grad_batches={parts}")
        assert jobs.run(directory, 2) == 0, (directory / "output.txt").read_text()
        # The network is small enough for one bucket.
        assert [(directory / f"exchanges-{rank}.txt").read_text() for rank in (0, 1)] == ["6", "6"]
        assert curve(directory) == pytest.approx(curve(alone), rel=1e-4)
        torch.testing.assert_close(checkpoint(directory)["state_dict"], weights, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_transformer_trains_on_two_ranks_as_on_one(new_run, jobs):
    alone = new_run("alone", *OPTIONS, *DIT)
    assert jobs.run(alone) == 0
    two = new_run("two", *OPTIONS, *DIT, *TWO)
    assert jobs.run(two, 2) == 0, (two / "output.txt").read_text()
    assert curve(two) == pytest.approx(curve(alone), rel=1e-4)
    assert [(two / f"exchanges-{rank}.txt").read_text() for rank in (0, 1)] == ["6", "6"]


CONSISTENCY = ("schedule=edm", "prediction=edm", "times=log_normal", "loss=consistency", "loss.stages=3")
JUMPS = ("schedule=flow", "prediction=flow", "model.two_times=true", "model.time_scale=0.001")
FEW_STEPS = {
    "consistency": CONSISTENCY,
    "mean flow": ("loss=meanflow", *JUMPS),
    "shortcut": ("loss=shortcut", "loss.same=0.5", *JUMPS),
}
LATENTS = ("autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]}", "data.flip=true")


@pytest.mark.slow
@pytest.mark.parametrize("options", FEW_STEPS.values(), ids=FEW_STEPS)
def test_losses_of_few_steps_train_on_two_ranks_as_on_one(new_run, jobs, options):
    """They call the network more than once a step, some of the calls without a gradient."""
    alone = new_run("alone", *OPTIONS, *options)
    assert jobs.run(alone) == 0
    two = new_run("two", *OPTIONS, *options, *TWO)
    assert jobs.run(two, 2) == 0, (two / "output.txt").read_text()
    assert curve(two) == pytest.approx(curve(alone), rel=1e-4)
    assert [(two / f"exchanges-{rank}.txt").read_text() for rank in (0, 1)] == ["6", "6"]


@pytest.mark.slow
def test_ranks_choose_one_memory_format(new_run, jobs):
    """Whichever it is: each times for itself, and the slower of the two counts for both."""
    more = ("trainer.max_steps=200", "trainer.memory_format=auto")
    directory = new_run("run", *more, "trainer=ddp_cpu", "trainer.devices=2")
    assert jobs.run(directory, 2) == 0, (directory / "output.txt").read_text()
    log = (directory / "train.log").read_text()
    chosen = re.findall(r"speed        32-true, (\w+), 1 thread: [\d.]+ ms for a pass of \d+ images", log)
    assert chosen == [checkpoint(directory)["compute"]["memory_format"]]


def test_warning_is_one_line_and_comes_from_one_rank(new_run, jobs):
    """The schedule warns with Python's `warnings` of a chain that is too short to end in noise."""
    directory = new_run(
        "short", *OPTIONS, "trainer=ddp_cpu", "trainer.devices=2", "schedule=linear", "schedule.betas.T=20"
    )
    assert jobs.run(directory, 2) == 0, (directory / "output.txt").read_text()
    for name in ("output.txt", "train.log"):
        lines = [line for line in (directory / name).read_text().splitlines() if "keeps alpha_bar_T" in line]
        assert len(lines) == 1, lines
        assert re.fullmatch(r".*warning      this schedule keeps .* use more steps, or schedule=cosine", lines[0])


@pytest.mark.slow
def test_the_share_of_waiting_is_logged(new_run, jobs):
    """One rank is slow: the other waits for most of its step, so the mean is large; steps are counted by image."""
    slow = "+callbacks.slow={_target_: support.parts.SlowRank, rank: 1, seconds: 0.3}"
    directory = new_run("run", *OPTIONS, "trainer=ddp_cpu", "trainer.devices=2", slow, "trainer.max_steps=8")
    assert jobs.run(directory, 2) == 0
    with open(directory / "metrics.csv") as file:
        names, *lines = (line.strip().split(",") for line in file)
    last = dict(zip(names, lines[-1], strict=True))
    assert 0.3 < float(last["train/communication"]) < 1
    assert 2 * float(last["train/images_per_second_per_rank"]) == pytest.approx(float(last["train/images_per_second"]))


FSDP = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.mark.slow
@pytest.mark.parametrize("network", [(), (*DIT, "model.rms_norm=true", "model.context_tokens=2")], ids=["UNet", "DiT"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_network_in_parts_trains_as_a_whole_one(new_run, jobs, parts, network):
    """FSDP on two ranks: the curve, the average and the checkpoint of one process; a resume is exact."""
    options = (*OPTIONS, *network, f"trainer.accumulate_grad_batches={parts}", "learning_rate.total_steps=6")
    options += ("optimizer=adamw",)
    alone, sharded = new_run("alone", *options), new_run("sharded", *options, *FSDP)
    assert jobs.run(alone) == 0
    assert jobs.run(sharded, 2) == 0, (sharded / "output.txt").read_text()
    assert curve(sharded) == pytest.approx(curve(alone), rel=1e-4)
    states = [checkpoint(directory) for directory in (alone, sharded)]
    assert states[0].keys() == states[1].keys()
    torch.testing.assert_close(states[1]["state_dict"], states[0]["state_dict"], rtol=1e-3, atol=1e-5)
    moments = [state["optimizer_states"][0]["state"] for state in states]
    torch.testing.assert_close(moments[1], moments[0], rtol=1e-3, atol=1e-5)
    for steps in (3, 6):
        halves = new_run("halves", *options, *FSDP, f"trainer.max_steps={steps}")
        assert jobs.run(halves, 2) == 0, (halves / "output.txt").read_text()
    assert differences(checkpoint(halves)["state_dict"], states[1]["state_dict"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [TWO[:2], FSDP], ids=["ddp", "fsdp"])
def test_latents_on_two_ranks_are_those_of_one(new_run, jobs, ranks):
    """The same draws and normalisation, by flipped images, in two micro-batches."""
    options = (*OPTIONS, *LATENTS, "trainer.accumulate_grad_batches=2", "optimizer=adamw")
    alone, two = new_run("alone", *options), new_run("two", *options, *ranks)
    assert jobs.run(alone) == 0, (alone / "output.txt").read_text()
    assert jobs.run(two, 2) == 0, (two / "output.txt").read_text()
    assert curve(two) == pytest.approx(curve(alone), rel=1e-4)
    states = [checkpoint(directory) for directory in (alone, two)]
    assert states[0]["latents"] == states[1]["latents"]
    torch.testing.assert_close(states[1]["state_dict"], states[0]["state_dict"], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", FEW_STEPS.values(), ids=FEW_STEPS)
def test_losses_of_few_steps_train_in_parts_as_whole(new_run, jobs, options):
    """FSDP gathers the parts for each of a step's passes, with a gradient or without; a resume is exact."""
    options = (*OPTIONS, *options, "trainer.accumulate_grad_batches=2", "learning_rate.total_steps=6")
    alone, sharded = new_run("alone", *options), new_run("sharded", *options, *FSDP)
    assert jobs.run(alone) == 0, (alone / "output.txt").read_text()
    assert jobs.run(sharded, 2) == 0, (sharded / "output.txt").read_text()
    assert curve(sharded) == pytest.approx(curve(alone), rel=1e-4)
    states = [checkpoint(directory)["state_dict"] for directory in (alone, sharded)]
    torch.testing.assert_close(states[1], states[0], rtol=1e-3, atol=1e-5)
    stages = ["loss.total_steps=6"] if "loss=consistency" in options else []
    for steps in (3, 6):
        halves = new_run("halves", *options, *FSDP, f"trainer.max_steps={steps}", *stages)
        assert jobs.run(halves, 2) == 0, (halves / "output.txt").read_text()
    assert differences(checkpoint(halves)["state_dict"], states[1]) == []


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("weighting=uncertainty", "trainer.strategy=fsdp cuts up the network alone"),
        ("optimizer=muon", "optimizer=muon needs whole matrices, which trainer.strategy=fsdp cuts up"),
    ],
)
def test_what_fsdp_cannot_do_is_refused(new_run, jobs, option, sentence):
    directory = new_run("run", *OPTIONS, *FSDP, option)
    assert jobs.run(directory, 2) == 1
    assert sentence in (directory / "error-rank-0.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [TWO[:2], FSDP], ids=["ddp", "fsdp"])
@pytest.mark.parametrize("network", [(*SONG, "augment.p=0.5"), EDM2], ids=["song", "edm2"])
def test_networks_of_edm_train_on_two_ranks_as_on_one(new_run, jobs, network, ranks):
    """Augmented in the same way, and with weights put back to magnitude 1."""
    options = (*OPTIONS, *network, "model.dropout=0.0")
    alone, two = new_run("alone", *options), new_run("two", *options, *ranks)
    assert jobs.run(alone) == 0, (alone / "output.txt").read_text()
    assert jobs.run(two, 2) == 0, (two / "output.txt").read_text()
    assert curve(two) == pytest.approx(curve(alone), rel=1e-4)
    torch.testing.assert_close(checkpoint(two)["state_dict"], checkpoint(alone)["state_dict"], rtol=1e-3, atol=1e-4)


BUFFERED = (
    "model={_target_: support.networks.Buffered, shape: ${data.shape}, num_classes: null}",
    "+callbacks.buffers._target_=support.parts.BufferWitness",
)


def assert_one_set_of_buffers(directory):
    """The network and its averages have the same buffers on both ranks, and in the checkpoint."""
    ranks = [torch.load(directory / f"buffers-{rank}.pt") for rank in (0, 1)]
    for name, value in ranks[0]["raw"].items():
        for found in (rank[weights][name] for rank in ranks for weights in ("raw", "ema") if name in rank[weights]):
            assert torch.equal(found, value), name
    state = checkpoint(directory)["state_dict"]
    stored = [{k.partition(".net.")[2]: v for k, v in state.items() if k.startswith(n)} for n in ("denoi", "ema_denoi")]
    names = ranks[0]["raw"].keys() & stored[0].keys()
    assert len(names) == 8
    assert all(torch.equal(found[name], ranks[0]["raw"][name]) for found in stored for name in names)
    return {name: ranks[0]["raw"][name] for name in names}


def test_ranks_agree_on_buffers(new_run, jobs):
    """BatchNorm's mean is that of the whole batch, other buffers are those of rank 0 (YOLOX#1176)."""
    alone, two = (new_run(n, *OPTIONS, *BUFFERED, "trainer.max_steps=1", *o) for n, o in (("a", ()), ("b", TWO[:2])))
    assert jobs.run(alone) == 0
    assert jobs.run(two, 2) == 0, (two / "output.txt").read_text()
    found, expected = assert_one_set_of_buffers(two), torch.load(alone / "buffers-0.pt")["raw"]
    torch.testing.assert_close(found["norm.running_mean"], expected["norm.running_mean"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found["norm.running_var"], expected["norm.running_var"], rtol=0.05, atol=0)
    assert found["passes"] == 1
    assert not torch.equal(found["level"], expected["level"])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [TWO[:2], FSDP])
def test_buffers_of_ranks_resume_exactly(new_run, jobs, strategy):
    options = (*OPTIONS, *BUFFERED, *strategy, "learning_rate.total_steps=6", "trainer.accumulate_grad_batches=2")
    whole = new_run("whole", *options)
    assert jobs.run(whole, 2) == 0, (whole / "output.txt").read_text()
    assert assert_one_set_of_buffers(whole)["passes"] == 12
    for steps in (3, 6):
        halves = new_run("halves", *options, f"trainer.max_steps={steps}")
        assert jobs.run(halves, 2) == 0, (halves / "output.txt").read_text()
    assert differences(checkpoint(halves)["state_dict"], checkpoint(whole)["state_dict"]) == []
