"""What ranks tell each other when they meet."""

import pytest
import torch.distributed as dist

from inkwash.errors import UserError
from inkwash.launch.environment import RankEnv
from inkwash.launch.heartbeat import _layout


@pytest.mark.parametrize(("locals_", "per_node"), [([0, 0], 1), ([0, 1], 2), ([0, 1, 0, 1], 2), ([0, 1, 2], 3)])
def test_ranks_find_out_how_many_there_are_on_each_node(locals_, per_node):
    store = dist.HashStore()
    for rank, local in enumerate(locals_):
        store.set(f"inkwash/local/{rank}", str(local))
    for rank, local in enumerate(locals_):
        env = RankEnv(rank, local, world_size=len(locals_), local_world_size=0)
        assert _layout(store, env) == {"LOCAL_WORLD_SIZE": str(per_node), "GROUP_RANK": str(rank // per_node)}


@pytest.mark.parametrize("locals_", [[0, 1, 0], [0, 0, 1, 1], [1, 0]])
def test_ranks_that_are_spread_unevenly_are_refused(locals_):
    store = dist.HashStore()
    for rank, local in enumerate(locals_):
        store.set(f"inkwash/local/{rank}", str(local))
    with pytest.raises(UserError, match="LOCAL_RANK is .* number them node by node"):
        _layout(store, RankEnv(0, locals_[0], world_size=len(locals_), local_world_size=0))
