"""Hydra's syntax for Optuna's distributions."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hydra_plugins.inkwash.space import distribution
from inkwash.errors import UserError


def space(text):
    (override,) = OverridesParser.create().parse_overrides([text])
    return distribution(override)


def test_hydras_syntax_describes_optunas_distributions():
    assert space("a=interval(0.1,2)") == FloatDistribution(0.1, 2)
    assert space("a=tag(log,interval(1e-5,1e-2))") == FloatDistribution(1e-5, 1e-2, log=True)
    assert space("a=int(interval(8,64))") == IntDistribution(8, 64)
    assert space("a=tag(log,int(interval(8,64)))") == IntDistribution(8, 64, log=True)
    assert space("a=range(8,65,8)") == IntDistribution(8, 64, step=8)
    assert space("a=range(8,64,8)") == IntDistribution(8, 56, step=8)  # Hydra's range ends before its end
    assert space("a=range(0.0,1.0,0.25)") == FloatDistribution(0, 0.75, step=0.25)
    for text in ("a=x,y,1", "a=choice(x,y,1)"):
        assert space(text) == CategoricalDistribution(["x", "y", "1"])
    assert space("schedule=[1,2],[3]") == CategoricalDistribution(["[1,2]", "[3]"])


@pytest.mark.parametrize("value", [
    "tag(log,interval(0,1.0))", "interval(1,inf)", "interval(nan,1)", "range(5,5)", "range(1,5,0)", "range(1,2,0.0)",
    "range(1,inf)", "range(0,1,1e-9)", "range(5,1,-1)",
])  # fmt: skip
def test_an_impossible_search_space_is_named(value):
    with pytest.raises(UserError) as error:
        space(f"a={value}")
    assert str(error.value).startswith(f"a={value}: ")
    assert space("a=range(1,1000000000)") == IntDistribution(1, 999_999_999)  # without counting them
