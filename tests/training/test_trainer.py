"""The Trainer's device, strategy and processes."""

import pytest
import torch

from inkwash.errors import UserError
from inkwash.training.trainer import build_trainer, check_gpus, check_processes, choose_strategy, resolve_device


def test_processes_must_be_those_of_the_configuration(monkeypatch):
    assert check_processes("auto", 1) == check_processes("auto", "auto") == (1, 1)
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert check_processes(2, 2) == check_processes("auto", "auto") == (2, 2)
    with pytest.raises(UserError, match=r"trainer.devices=4, but 2 processes were started on this node"):
        check_processes(4, 2)
    with pytest.raises(UserError, match=r"trainer.num_nodes=1 with 2 processes each, but 4 were started in all"):
        check_processes("auto", 1)


def test_every_process_must_see_a_gpu_for_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_gpus(1)
    with pytest.raises(UserError, match=r"2 processes were started on this node, but each sees 1 of its GPUs"):
        check_gpus(2)


def test_one_process_needs_no_strategy():
    assert choose_strategy("auto", 1) == "auto"
    assert type(choose_strategy("auto", 2)).__name__ == "DDPStrategy"
    assert type(choose_strategy("fsdp", 1)).__name__ == "ShardedStrategy"
    with pytest.raises(UserError, match=r"trainer.strategy=ddp2 must be auto, ddp or fsdp"):
        choose_strategy("ddp2", 2)


def test_an_unknown_accelerator_is_refused():
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(UserError, match=r"trainer.accelerator=mps must be auto, cpu or gpu"):
        resolve_device("mps")


# --- Lightning's options ----------------------------------------------------------------------------------------------


LIGHT = ("~callbacks.evaluation", "~callbacks.samples", "~callbacks.heldout", "~callbacks.best")


@pytest.fixture
def fit_with(fit_run):
    """fit_with(name, *overrides): two steps, without grids and metrics; returns (directory, trainer, module)."""
    return lambda name, *overrides: fit_run(name, *LIGHT, "trainer.max_steps=2", *overrides)


@pytest.mark.slow
def test_a_gradient_is_clipped_by_norm_or_by_value(fit_with):
    """nano-world-model#22: the wish for one of them was accepted, and the other one done."""
    clip = "trainer.gradient_clip_val=0.01"
    algorithm = "+trainer.options.gradient_clip_algorithm="
    runs = [fit_with(name, clip, *more) for name, more in (("a", ()), ("b", (f"{algorithm}norm",)))]
    by_norm, same = (module.denoiser.state_dict() for *_, module in runs)
    assert all(torch.equal(by_norm[key], same[key]) for key in by_norm)
    by_value = fit_with("c", clip, f"{algorithm}value")[2]
    assert not all(torch.equal(by_norm[key], value) for key, value in by_value.denoiser.state_dict().items())
    largest = max(float(p.grad.abs().max()) for p in by_value.denoiser.parameters() if p.grad is not None)
    assert largest == pytest.approx(0.01)
    assert by_value.grad_norm > 0.01  # as it was before


@pytest.mark.slow
def test_options_reach_lightning(fit_with):
    options = "{deterministic: true, benchmark: false, detect_anomaly: true, profiler: simple, sync_batchnorm: true}"
    try:
        directory, trainer, _ = fit_with("run", f"+trainer.options={options}")
        assert torch.are_deterministic_algorithms_enabled()
        assert trainer._detect_anomaly
        assert "run_training_batch" in (directory / "fit-profile.txt").read_text()
    finally:
        torch.use_deterministic_algorithms(False)


def test_batch_norms_of_ranks_on_the_cpu_cannot_agree(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"sync_batchnorm=true works on GPUs alone"):
        build_trainer(2, "cpu", options={"sync_batchnorm": True})
