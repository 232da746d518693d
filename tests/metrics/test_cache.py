import logging

import pytest
import torch

from inkwash.errors import UserError, user_error
from inkwash.metrics.cache import cached

MADE = {"x": torch.arange(1000.0), "n": 3}


def made_once(path):
    """Whether it was made, and what came back."""
    calls = []
    found = cached(path, lambda: calls.append(1) or MADE)
    return len(calls), found


@pytest.mark.parametrize("keep", [None, 0, 10, 1000, "other", "a bit"])
def test_a_damaged_file_is_replaced_and_stored(keep, tmp_path, caplog):
    path = tmp_path / "cache" / "reference.pt"
    assert made_once(path)[0] == 1
    if keep == "other":
        path.write_bytes(b"something else")
    elif keep == "a bit":  # of a number, which torch.load would read as another
        content = bytearray(path.read_bytes())
        content[content.index(MADE["x"].numpy().tobytes()) + 400] ^= 1
        path.write_bytes(content)
    elif keep is not None:
        path.write_bytes(path.read_bytes()[:keep])
    with caplog.at_level(logging.WARNING):
        count, found = made_once(path)
    assert count == (keep is not None)
    assert ("reference.pt is damaged" in caplog.text) == (keep is not None)
    assert torch.equal(found["x"], MADE["x"])
    assert made_once(path)[0] == 0
    assert {file.name for file in path.parent.iterdir()} <= {"reference.pt", "reference.pt.lock"}


def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / "reference.pt").mkdir()
    with pytest.raises(OSError, match="directory") as error:
        cached(tmp_path / "reference.pt", dict)
    assert isinstance(user_error(error.value), UserError)
