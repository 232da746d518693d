"""Buffers of networks: averages, resumes, exports and samples have those of the training.

Public reports: averages that keep the buffers of the start (CuriousAI/mean-teacher#9, facebookresearch/moco#70,
huggingface/pytorch-image-models#245), averaged unit vectors of spectral norm, with which a network explodes
(NCAR/miles-credit#394), averages that differ between ranks (Megvii-BaseDetection/YOLOX#1176).
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from inkwash.interop.pipeline import export_safetensors
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.training.buffers import buffer_names, copy_buffers, restored
from inkwash.training.build import build_module
from inkwash.training.ema import AverageDenoiser
from support.networks import Buffered
from support.training import NO_METRIC, checkpoint

BUFFERED = "model={_target_: support.networks.Buffered, shape: ${data.shape}, num_classes: null}"
SLOW_AVERAGE = "averages={slow: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.5}}"
OPTIONS = (BUFFERED, NO_METRIC, "~callbacks.best", SLOW_AVERAGE, "learning_rate.total_steps=6")
NAMES = [
    *("level", "passes", "mask", "enter.parametrizations.weight.0._u", "enter.parametrizations.weight.0._v"),
    *("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"),
]


def buffers(state, weights):
    return {name: state["state_dict"][f"{weights}.net.{name}"] for name in NAMES}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


@pytest.fixture(scope="module")
def whole(quick_run_in, tmp_path_factory):
    """The directory of a run of six steps."""
    directory = quick_run_in(tmp_path_factory.mktemp("buffers") / "whole", *OPTIONS, "trainer.max_steps=6")
    train(directory)
    return directory


def test_all_averages_have_the_buffers_of_the_weights(whole):
    state = checkpoint(whole)
    raw = buffers(state, "denoiser")
    for average in ("ema_denoiser", "averages.slow"):
        assert_equal(buffers(state, average), raw)
    start = dict(Buffered([1, 8, 8]).named_buffers())
    assert [name for name in NAMES if torch.equal(raw[name], start[name])] == ["mask"]
    assert raw["passes"] == raw["norm.num_batches_tracked"] == 6
    weights = [state["state_dict"][f"{net}.net.leave.weight"] for net in ("denoiser", "ema_denoiser")]
    assert not torch.equal(*weights)


def test_a_run_and_an_export_have_them(whole, tmp_path):
    expected = buffers(checkpoint(whole), "denoiser")
    for weights in ("ema", "raw", "slow"):
        assert_equal(dict(load_run(whole, weights=weights).denoiser.net.named_buffers()), expected)
    exported = load_file(export_safetensors(whole, tmp_path / "net.safetensors"))
    assert_equal({name: exported[name] for name in NAMES}, expected)


def test_a_resume_is_exact(whole, quick_run):
    for steps in (3, 6):
        directory = quick_run("halves", *OPTIONS, f"trainer.max_steps={steps}")
        train(directory)
    found, expected = (checkpoint(run)["state_dict"] for run in (directory, whole))
    assert_equal(found, expected)


def test_a_new_run_starts_from_them(whole, quick_run):
    directory = quick_run("next", *OPTIONS, f"init_from={whole}", "trainer.max_steps=1")
    train(directory)
    assert buffers(checkpoint(directory), "denoiser")["passes"] == 7


def test_sampling_the_raw_weights_leaves_them(whole, quick_run):
    """Grids and metrics of the raw weights run in evaluation mode, and the training goes on in its own."""
    raw = ("callbacks.samples.every_n_steps=1", "+callbacks.raw={_target_: support.parts.DrawRaw}")
    directory = quick_run("drawn", *OPTIONS, *raw, "trainer.max_steps=6")
    train(directory)
    assert json.loads((directory / "drawn.json").read_text()) == [False] * 6
    assert_equal(checkpoint(directory)["state_dict"], checkpoint(whole)["state_dict"])


@pytest.mark.slow
def test_a_trial_of_micro_batches_leaves_them(quick_run, whole):
    directory = quick_run("auto", *OPTIONS, "trainer.max_steps=6", "trainer.accumulate_grad_batches=auto")
    train(directory)
    assert_equal(checkpoint(directory)["state_dict"], checkpoint(whole)["state_dict"])


def test_a_step_that_is_left_out_leaves_them(quick_run):
    nan = "+callbacks.nan={_target_: support.faults.NanImage, step: 1}"
    directory = quick_run("nan", *OPTIONS, nan, "callbacks.guard.skip=1", "trainer.max_steps=3")
    train(directory)
    found = buffers(checkpoint(directory), "ema_denoiser")
    assert found["passes"] == 2
    assert all(bool(value.isfinite().all()) for name, value in found.items() if name != "mask")


def test_an_average_in_float32_follows_buffers_in_half(compose_config):
    module = build_module(compose_config(BUFFERED))
    net, average = module.denoiser.net.to(torch.bfloat16), AverageDenoiser.of(module.denoiser).net.float()
    net.norm.running_var.fill_(0.3)
    copy_buffers(net, average, buffer_names(net))
    assert average.norm.running_var.dtype == torch.float32
    assert torch.equal(average.norm.running_var, net.norm.running_var.float())


def test_the_own_network_has_none(compose_config):
    assert build_module(compose_config("model.channels=8")).net_buffers == []
    net = Buffered([1, 8, 8])
    assert buffer_names(net) == NAMES
    with restored(net):
        net.norm.running_mean += 1
    assert not net.norm.running_mean.any()


def test_a_network_without_buffers_is_left_alone():
    net = torch.nn.Linear(1, 1)
    with restored(net):
        pass
    copy_buffers(net, net, [])
    assert buffer_names(net) == []
