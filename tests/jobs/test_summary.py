"""The first and last lines of a training."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inkwash.jobs.summary import describe, duration, expected_end
from inkwash.training.build import build_module
from support.networks import Halved


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 hours"), (362880, "4.2 days")],
)
def test_durations_have_the_largest_unit_of_which_there_are_two(seconds, words):
    assert duration(seconds) == words


def test_the_expected_end_is_a_time_of_day_with_its_date_on_another_day():
    evening = datetime(2026, 2, 28, 23, 50)
    assert expected_end(0.25, 1200, evening).startswith("5 min of passes, forward and back, to 23:55;")
    assert expected_end(0.25, 4800, evening).startswith("20 min of passes, forward and back, to 2026-03-01 00:10;")


@pytest.fixture
def described(compose_config):
    """described(*overrides): a configuration, its module and a trainer, for `describe`."""

    def make(*overrides: str, processes: int = 1) -> tuple[Any, Any, Any]:
        config = compose_config("model.channels=8", "trainer=cpu", "trainer.threads=1", *overrides)
        module = build_module(config)
        module.compute = {"memory_format": "contiguous", "threads": 1}
        trainer = SimpleNamespace(
            world_size=processes, accumulate_grad_batches=1, precision="bf16-mixed", accelerator=SimpleNamespace(),
            is_global_zero=True, default_root_dir="runs/x", max_steps=10,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )  # fmt: skip
        return trainer, module, config

    return make


@pytest.mark.parametrize(("processes", "gpu"), [(1, "NVIDIA H200"), (8, "8 x NVIDIA H200")])
def test_a_training_on_a_gpu_notes_its_name(processes, gpu, described, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    trainer, module, config = described(processes=processes)
    trainer.strategy.root_device = torch.device("cuda", 0)
    assert describe(trainer, module, config, {})["gpu"] == gpu
    trainer.strategy.root_device = torch.device("cpu")
    assert "gpu" not in describe(trainer, module, config, {})


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        ((), None),
        (("optimizer.lr=0.01",), None),
        (("optimizer.lr=2e-3",), "if it is meant for AdamW, pass optimizer=adamw optimizer.lr=0.002"),
        (("optimizer=adamw", "optimizer.lr=2e-3"), None),
        (("~optimizer.lr", "~optimizer.adamw_lr", "~optimizer.exclude"), None),  # as a YAML of somebody's own may be
    ],
)
def test_a_rate_that_is_not_muons_is_noticed(described, caplog, overrides, warned):
    describe(*described(*overrides), {"choices": {"optimizer": "mine"}})
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (warned is not None)
    assert (warned or "") in "".join(warnings)


def test_a_network_without_hidden_matrices_is_told(described, caplog):
    trainer, module, config = described()
    module.denoiser.net = Halved((1, 8, 8))
    describe(trainer, module, config, {})
    assert "AdamW takes all of it, at optimizer.adamw_lr=0.005; optimizer.lr counts for nothing" in caplog.text
