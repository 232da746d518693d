"""Test that paths need no quotes within quotes."""

import pytest

from inkwash import compose
from inkwash.config.cli import with_quotes


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    "path",
    ["~/photos", "d/a=b", "d/a{b}", "d/a(b)", "x[1].parquet", "写真", "d/a b", "shard-{000..009}.tar", 'say "cheese"',
     "plain/path.parquet", "C:\\photos", "{a"],
)  # fmt: skip
def test_a_path_is_taken_as_it_is_typed(path):
    assert compose("data=folder", f"data.path={path}").data.path == path


@pytest.mark.parametrize("name", ["dogs (big)", "Vögel", "3"])
def test_a_label_too(name):
    label = compose("run=x", f"label={name}", config_name="sample").label
    assert label == (3 if name == "3" else name)


@pytest.mark.parametrize(
    "argument",
    ["data.path=a,b", "model.channels=[1,2", "data.path='~/photos'", 'data.path="~/photos"', "optimizer.lr=~1", "-m",
     "data.path=null", "data.path=${oc.env:HOME}/x", "~data.path"],
)  # fmt: skip
def test_what_hydra_reads_and_what_is_no_path_is_left(argument):
    assert with_quotes(argument) == argument
