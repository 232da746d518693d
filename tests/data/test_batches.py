from itertools import chain, islice

import pytest
import torch

from inkwash.data.batches import StepBatches
from inkwash.data.images import Images
from inkwash.errors import UserError


def images(count):
    return Images(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.zeros(count))


def first(count, num_images=40, **kwargs):
    return list(islice(StepBatches(**{"images": images(num_images), "batch_size": 8, "seed": 0} | kwargs), count))


def test_an_epoch_has_every_image_once_in_its_own_order():
    batches = first(10)
    epochs = [list(chain(*batches[:5])), list(chain(*batches[5:]))]
    assert [sorted(epoch) for epoch in epochs] == [list(range(40))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != list(range(40))


def test_the_seed_decides_the_order():
    assert first(5) == first(5)
    assert first(5) != first(5, seed=1)


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (4, 1), (1, 4), (2, 2), (4, 2)])
def test_ranks_and_micro_batches_cut_the_same_global_batches(world_size, accumulate):
    ranks = [first(7 * accumulate, world_size=world_size, rank=r, accumulate=accumulate) for r in range(world_size)]
    for step, whole in enumerate(first(7)):
        micros = range(step * accumulate, (step + 1) * accumulate)
        parts = [ranks[rank][micro] for micro in micros for rank in range(world_size)]
        assert {len(part) for part in parts} == {8 // (world_size * accumulate)}
        assert list(chain(*parts)) == whole


def test_batches_run_across_the_end_of_an_epoch():
    stream = list(chain(*first(5, num_images=10)))
    assert [sorted(stream[start : start + 10]) for start in range(0, 40, 10)] == [list(range(10))] * 4


def test_a_set_smaller_than_a_batch_wraps_around():
    batch = first(1, num_images=3)[0]
    assert len(batch) == 8
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


@pytest.mark.parametrize("step", [1, 5, 12])
def test_starting_at_a_step_is_resuming_there(step):
    assert first(15, num_images=21)[step:] == first(15 - step, num_images=21, start_step=lambda: step)


def test_a_batch_that_cannot_be_shared_out_names_the_three_keys():
    with pytest.raises(UserError, match=r"data\.batch_size=8 .*trainer\.devices.*trainer\.accumulate_grad_batches=3"):
        StepBatches(images(40), 8, seed=0, world_size=2, accumulate=3)
