"""Test that paths need no quotes within quotes."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from inkwash import compose
from inkwash.commands import evaluate
from inkwash.commands.report import with_list
from inkwash.config.paths import config_dir
from inkwash.config.quotes import OF_NAMES, with_quotes
from inkwash.config.signatures import _arguments, check_arguments
from inkwash.errors import UserError


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


NUMBERS = ["1e-4", "1e3", "1_000", "007", "12", "-.5", "inf", "true", "False"]


@pytest.mark.parametrize(
    "key",
    ["run", "sweep", "init_from", "out", "data.path", "++data.path", "data.source.heldout_path", "data.source.revision",
     "logger.wandb.project"],
)  # fmt: skip
def test_a_name_that_looks_like_a_number_stays_as_it_is(key):
    parser = OverridesParser.create()
    assert [parser.parse_override(with_quotes(f"{key}={name}")).value() for name in NUMBERS] == NUMBERS
    assert with_quotes(f"{key}=null") == f"{key}=null"


# Keys whose text is one of a few words, none of which looks like a number.
WORDS = {
    "dtype", "mode", "monitor", "labels", "reference", "class_order", "splits", "first", "checkpoint", "weights",
    "accelerator", "memory_format", "strategy",
}  # fmt: skip
KEYS_OF_WORDS = {"trainer.precision", "data.source.name"}


def texts_of(node, key):
    """The keys of texts in a node of conf/."""
    if isinstance(node, dict):
        annotations = _arguments(node["_target_"]) if str(node.get("_target_")).startswith("inkwash.") else None
        for name, value in node.items():
            if annotations and (kind := annotations.get(name)) and ast.unparse(kind) in ("str", "str | None"):
                yield f"{key}.{name}"
            yield from texts_of(value, f"{key}.{name}")


def test_every_name_of_conf_may_look_like_a_number():
    found = set()
    for file in Path(config_dir()).glob("*/*.yaml"):
        package = re.search(r"^# @package (\S+)", text := file.read_text("utf-8"), re.MULTILINE)
        top = package[1].removeprefix("_global_") if package else file.parent.name
        found.update(texts_of(yaml.safe_load(text), top))
    assert {key for key in found - OF_NAMES - KEYS_OF_WORDS if key.rpartition(".")[2] not in WORDS} == set()
    assert {key for key in OF_NAMES if "." in key} <= found


def test_a_number_in_place_of_a_text_says_how_to_quote_it():
    node = {"_target_": "inkwash.data.hf.HuggingFace", "revision": 7}
    message = "data.source.revision=7 must be text or null; as text it is 'data.source.revision=\"7\"'"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check_arguments(node, "data.source")
    with pytest.raises(UserError, match="seed=0.5 must be a whole number$"):
        check_arguments({"_target_": "inkwash.data.module.ImageDataModule", "seed": 0.5})


def test_too_many_brackets_are_left_to_hydra():
    assert with_quotes(f"run={'[' * 2000}") == f"run={'[' * 2000}"


def test_hydra_composes_such_names():
    config = compose("data=folder", "run=1e-4", "sweep=null", "data.path=1_000")
    assert (config.run, config.sweep, config.data.path) == ("1e-4", None, "1_000")
    assert list(compose(with_list(f"runs={','.join(NUMBERS)},a"), config_name="compare").runs) == [*NUMBERS, "a"]
    assert with_list("runs=a") == "runs=[a]"


def test_names_beside_lists_of_an_evaluation(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "argv", ["inkwash evaluate", "run=1e-4", "reference_file=~/x.npz", "seed=1,2"])
    monkeypatch.setattr(evaluate, "evaluate", lambda _, others: seen.extend([sys.argv[1:], *others]))
    monkeypatch.setattr(evaluate.cli, "run", lambda task, _: task(None))
    evaluate.main()
    names = ['run="1e-4"', 'reference_file="~/x.npz"']
    assert seen == [[*names, "seed=1"], [*names, "seed=2"]]


@pytest.mark.parametrize(
    "argument",
    ["data.path=a,b", "model.channels=[1,2", "data.path='~/photos'", 'data.path="~/photos"', "optimizer.lr=~1", "-m",
     "data.path=null", "run=null", "run=a", "seed=1e3", "callbacks.x.images=8", "data.path=${oc.env:HOME}/x",
     "~data.path"],
)  # fmt: skip
def test_what_hydra_reads_and_what_is_no_path_is_left(argument):
    assert with_quotes(argument) == argument
