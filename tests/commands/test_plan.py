"""inkwash plan: what a training takes, here and on GPUs."""

import re

import pytest
import torch

from inkwash.commands.plan import own_words
from inkwash.errors import UserError
from inkwash.jobs import plan, plan_speed
from inkwash.jobs.plan_speed import least_memory
from inkwash.losses.simple import DiffusionLoss
from inkwash.training.build import build_module
from inkwash.training.gpus import Work
from inkwash.training.network_cost import Memory
from support.in_process import Commands


@pytest.mark.parametrize("width", [80])
def test_it_says_what_a_training_takes(width, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    run = Commands(tmp_path)
    ended = run("plan", "model.channels=8", "trainer=cpu", "trainer.threads=1", "data.batch_size=16", "price=2")
    assert ended.code == 0, ended.text
    assert max(map(len, ended.text.splitlines())) <= 110
    assert re.search(r"^speed here   32-true.*: [\d.]+ ms a step of 16 images, [\d,]+ images/s$", ended.text, re.M)
    assert re.search(r"^time here    .+ for 1,400 steps; .+ with grids and metrics$", ended.text, re.M)
    assert "H100" in ended.text
    assert " 64 " not in ended.text.partition("on GPUs")[2].replace("64 GB", "")  # more than there are images
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit_in_memory_is_told(tmp_path, monkeypatch):
    def exhausted(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(DiffusionLoss, "forward", exhausted)
    ended = Commands(tmp_path)("plan", *SMALL, "trainer.precision=32-true")
    assert ended.code == 0, ended.text
    assert "speed here   not measured: out of memory, too little for 2 images, or no way to compute in 32" in ended.text
    assert "H100" in ended.text


def test_its_own_words():
    assert own_words(["model=x", "price=2.5"]) == (["model=x"], {"price": 2.5, "share": 0.3})
    assert own_words(["share=1"])[1]["share"] == 1
    for word in ("price=cheap", "price=-1", "price=nan", "share=2", "share="):
        with pytest.raises(UserError, match=f"^{word}: "):
            own_words([word])


SMALL = ("model.channels=8", "trainer=cpu", "trainer.threads=1", "data.batch_size=16")


def test_a_large_network_passes_few_images(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_speed, "SECONDS", 0.0)
    ended = Commands(tmp_path)("plan", *SMALL)
    assert ended.code == 0, ended.text
    assert re.search(r"a step of 16 images, .*\n +reckoned from passes of 2 images: ", ended.text)
    assert "H100" in ended.text


def test_a_network_too_large_for_this_machine_is_planned_for_others(tmp_path, monkeypatch):
    for module in (plan, plan_speed):
        monkeypatch.setattr(module, "free_memory", lambda device: 1e5)
    ended = Commands(tmp_path)("plan", *SMALL)
    assert ended.code == 0, ended.text
    assert re.search(
        r"^speed here   not measured: it takes [\d.]+ MB of memory, and 0.1 MB are free$", ended.text, re.M
    )
    assert "time here" not in ended.text
    assert "H100" in ended.text


@pytest.mark.parametrize("memory", [0, 5])
def test_as_many_images_as_there_is_memory_for(memory, compose_config, monkeypatch):
    """Room for the least, and 5 images more."""
    needed = Memory(weights=1000, per_image=100_000_000)
    config = compose_config(*SMALL)
    module = build_module(config)
    least = least_memory(needed, sum(p.numel() for p in module.denoiser.parameters()))
    monkeypatch.setattr(plan_speed, "free_memory", lambda device: least + memory * 1.25 * needed.per_image)
    monkeypatch.setattr(plan_speed, "SECONDS", 1e9)
    monkeypatch.setattr(plan_speed, "ROUNDS", 1)
    assert plan_speed.measured(config, module, needed).images == 2 + memory


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        (("model.num_classes=10", "loss.label_dropout=0.1"), 2 * 80 * 2 * 50 + 2 * 1350 * 50),  # two grids, guided
        (("model.num_classes=null", "spacing.steps=null", "schedule.betas.T=100"), 2 * (80 + 1350) * 100),
        (("model.num_classes=null", "sampler=heun", "spacing.steps=18"), 2 * (80 + 1350) * 35),
        (("model.num_classes=null", "callbacks.evaluation.weights=[ema,raw]"), 2 * (80 + 2 * 1350) * 50),
        (("~callbacks.samples", "callbacks.evaluation.every_n_steps=null"), 1350 * 50),
        (("experiment=autoencoder",), 2 * (80 + 1350)),
    ],
)
def test_passes_of_grids_and_metrics(words, passes, compose_config):
    config = compose_config("trainer.max_steps=2000", *words)
    assert plan.images_to_draw(config, build_module(config)) == passes


def memory_of(parts):
    """The last column for one RTX 4090, of 24 GB: a batch of 64 images of 1 GB each, beside 1 GB of weights."""
    work = Work(flops=10**9, kernels=1, parameters=10**6, batch=64)
    rows = plan.estimates(work, 10, lambda images: (1 + images) * 10**9, 0.3, None, parts)
    return rows[0][-1]


def test_parts_of_a_batch_take_less_memory():
    assert memory_of(1) == "65.00 GB, too much"
    assert memory_of(2) == "33.00 GB, too much"
    assert memory_of(4) == memory_of("auto") == "17.00 GB"


def test_every_part_of_a_divided_table_says_how_many_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(plan, "tell_speed", lambda *_: None)
    ended = Commands(tmp_path)("plan", *SMALL, "price=2")
    heads = [line for line in ended.text.splitlines() if "GPU " in line and "number" in line]
    assert len(heads) == ended.text.count("┏") > 1
