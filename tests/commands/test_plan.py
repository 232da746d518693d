"""inkwash plan: what a training takes, here and on GPUs."""

import re

import pytest
import torch

from inkwash.commands.plan import own_words
from inkwash.errors import UserError
from inkwash.jobs import plan
from inkwash.losses.simple import DiffusionLoss
from support.in_process import Commands


@pytest.mark.parametrize("width", [80])
def test_it_says_what_a_training_takes(width, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    run = Commands(tmp_path)
    ended = run("plan", "model.channels=8", "trainer=cpu", "trainer.threads=1", "data.batch_size=16", "price=2")
    assert ended.code == 0, ended.text
    assert max(map(len, ended.text.splitlines())) <= 110
    assert re.search(r"^speed here   32-true.*: [\d.]+ ms a step of 16 images, [\d,]+ images/s$", ended.text, re.M)
    assert re.search(r"^time here    .+ for 2,000 steps; .+ with grids and metrics$", ended.text, re.M)
    assert "H100" in ended.text
    assert " 64 " not in ended.text.partition("on GPUs")[2].replace("64 GB", "")  # more than there are images
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_does_not_fit_in_memory_is_told(compose_config, monkeypatch):
    def exhausted(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(DiffusionLoss, "forward", exhausted)
    config = compose_config("model.channels=8", "trainer=cpu", "trainer.precision=32-true", "data.batch_size=16")
    with pytest.raises(UserError, match="^a pass of 16 images does not fit in memory, .*accumulate_grad_batches=2"):
        plan.measured(config)


def test_its_own_words():
    assert own_words(["model=x", "price=2.5"]) == (["model=x"], {"price": 2.5, "share": 0.3})
    assert own_words(["share=1"])[1]["share"] == 1
    for word in ("price=cheap", "price=-1", "price=nan", "share=2", "share="):
        with pytest.raises(UserError, match=f"^{word}: "):
            own_words([word])
