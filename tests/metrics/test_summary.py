import pytest

from inkwash.errors import UserError
from inkwash.metrics.summary import Summary, summarise


def test_several_seeds_are_summarised():
    runs = [{"fd_x_8": value, "kid_x_8": 1.0} for value in (2.0, 4.0, 9.0)]
    assert summarise(runs)["fd_x_8"] == Summary(mean=5.0, std=pytest.approx(13**0.5), n=3)
    assert summarise(runs)["kid_x_8"].std == 0
    assert summarise(runs[:1])["fd_x_8"] == Summary(mean=2.0, std=None, n=1)
    for bad in ([], [{"a": 1.0}, {"b": 1.0}]):
        with pytest.raises(UserError, match="the same metrics"):
            summarise(bad)
