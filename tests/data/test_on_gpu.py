"""A set on the GPU: its batches are those of the set in memory. The CPU stands for the GPU where there is none."""

from types import SimpleNamespace

import pytest
import torch

from inkwash.data.images import Flipped, Images
from inkwash.data.latents import WithNoise
from inkwash.data.on_gpu import OnGPU, on_gpu
from inkwash.errors import UserError
from support.on_device import on_device
from support.training import weights

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def images():
    draws = torch.Generator().manual_seed(0)
    return Images(torch.randint(0, 256, (7, 3, 4, 5), dtype=torch.uint8, generator=draws), torch.arange(7) % 3)


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=needs_gpu)], ids=str)
def test_batches_are_those_of_the_set_in_memory(images, device):
    for plain, there in [
        (images, OnGPU(images, device)),
        (Flipped(images), OnGPU(images, device, flip=True)),
    ]:
        indices = [*range(len(plain)), 3, 0, len(plain) - 1]
        (x, y), (x_there, y_there) = plain.__getitems__(indices), there.__getitems__(indices)
        assert x_there.device.type == y_there.device.type == device.type
        assert torch.equal(x, x_there.cpu())
        assert torch.equal(y, y_there.cpu())


@pytest.mark.parametrize("flip", [False, True])
def test_a_batch_reads_nothing_back(images, flip):
    there = OnGPU(images, CPU, flip)
    there.images, there.labels = on_device(there.images), on_device(there.labels)
    there.__getitems__([1, 6, 2])


@needs_gpu
def test_a_batch_does_not_wait(images):
    there = OnGPU(images, torch.device("cuda"), flip=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        there.__getitems__([1, 9, 2])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_only_images_in_memory_and_only_on_a_gpu(images, monkeypatch):
    gpu, stream = torch.device("cuda"), object()
    assert on_gpu(images, CPU, "auto") is None
    assert on_gpu(stream, gpu, "auto") is None
    assert on_gpu(images, gpu, False) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * images.images.numel() - 1, 0))
    assert on_gpu(images, gpu, "auto") is None  # more than a tenth of what is free
    with pytest.raises(UserError, match="data.on_gpu=true, but the training is not on one"):
        on_gpu(images, CPU, True)
    with pytest.raises(UserError, match="data.on_gpu=true, but these images are read piece by piece"):
        on_gpu(stream, gpu, True)
    with pytest.raises(UserError, match="data.on_gpu=maybe must be auto, true or false"):
        on_gpu(images, CPU, "maybe")


@pytest.mark.parametrize("flip", [False, True])
def test_a_training_is_the_same_to_the_last_bit(flip, fit_run, monkeypatch):
    overrides = ("trainer.max_steps=4", "data.batch_size=8", f"data.flip={str(flip).lower()}")
    *_, plain = fit_run("plain", *overrides)
    monkeypatch.setattr("inkwash.data.module.on_gpu", lambda images, *args: OnGPU(images, CPU, flip))
    *_, there = fit_run("there", *overrides)
    assert torch.equal(weights(plain), weights(there))


def test_noise_of_latents_beside_images_on_a_gpu_is_pinned(monkeypatch):
    """No loader pins a batch whose images are there already."""
    found = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: found.append(tuple(self.shape)) or self)
    for there in (True, False):
        images = SimpleNamespace(__getitems__=lambda indices: (SimpleNamespace(is_cuda=there), None))  # noqa: B023
        WithNoise(images, range(5), (4, 2, 2), seed=0).__getitems__([0, 7, 2])
    assert found == [(3, 4, 2, 2)]
