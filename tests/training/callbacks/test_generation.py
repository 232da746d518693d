"""Images generated on several ranks."""

from types import SimpleNamespace

import pytest
import torch

from inkwash.process.spacing import Trailing
from inkwash.samplers.ddim import DDIM
from inkwash.training.build import build_module
from inkwash.training.callbacks.generation import generate_local


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_generate_each_image_once_and_alike(compose_config, world_size):
    module = build_module(compose_config("model.channels=8"))
    datamodule = SimpleNamespace(shape=[1, 8, 8])

    def images(rank, ranks):
        trainer = SimpleNamespace(global_rank=rank, world_size=ranks, precision="32-true", datamodule=datamodule)
        batches = generate_local(trainer, module, 5, DDIM(Trailing(2)), None, seed=0, batch_size=2)
        return {i: image for indices, batch in batches for i, image in zip(indices, batch, strict=True)}

    alone = images(0, 1)
    parts = [images(rank, world_size) for rank in range(world_size)]
    assert sorted(i for part in parts for i in part) == [*range(5)] == sorted(alone)
    for part in parts:
        for i, image in part.items():
            assert (image.int() - alone[i].int()).abs().max() <= 1, i
    assert not torch.equal(alone[0], alone[1])
