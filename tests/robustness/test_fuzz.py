"""Random values, and real files with random damage: they work, or end in a UserError of one line; nothing else."""

import datetime

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from inkwash.checkpoints.io import AtomicCheckpointIO, read_checkpoint
from inkwash.config.instantiate import build
from inkwash.config.validate import check
from inkwash.data.decode import decode
from inkwash.data.parquet import Parquet
from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from inkwash.training.build import build_module
from support.bad_inputs.case import QUICK
from support.bad_inputs.images import encoded
from support.bad_inputs.tables import parquet_bytes, table

# How many of each: a few in every run of the tests, many when it may take minutes.
AMOUNTS = [20, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]


def tried(examples, **strategies):
    """given(), with the same examples every time and a bounded time for each."""

    def wrap(function):
        checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
        bounds = settings(
            max_examples=examples, derandomize=True, deadline=datetime.timedelta(seconds=20), database=None,
            suppress_health_check=checks,
        )  # fmt: skip
        return bounds(given(**strategies)(function))

    return wrap


def refused(function):
    """The result, or None for a mistake that is told in one line; everything else is a failure."""
    try:
        return function()
    except UserError as error:
        said = str(error)
    assert said
    assert "\n" not in said
    assert len(said) < 1000
    return None


# --- Values -----------------------------------------------------------------------------------------------------------

# Nothing that takes long, or gigabytes, to build; what is huge is so huge that no machine could.
NUMBERS = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**62, -(2**62), 10**30]), st.floats(), st.booleans(), st.none()
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["auto", "null", "nan", "../x", "${seed}", "${nope}", "???", "a.b", ""])
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


def keys_of(node, key=""):
    """Every key of a nested mapping, of leaves and of nodes."""
    for name, value in node.items():
        where = f"{key}.{name}".lstrip(".")
        yield where
        if isinstance(value, dict):
            yield from keys_of(value, where)


@pytest.mark.parametrize("examples", AMOUNTS)
def test_any_value_of_any_key_is_built_or_refused(examples, compose_config):
    plain = compose_config(*QUICK, "callbacks=[default,early_stopping]")
    keys = sorted(set(keys_of(plain)) - {"run", "sweep", "resume"})

    @tried(examples, key=st.sampled_from(keys), value=VALUES)
    def attempt(key, value):
        def whole():
            config = OmegaConf.create(plain)
            try:
                OmegaConf.update(config, key, value, merge=False)
            except OmegaConfBaseException:
                return  # the command line has no such value
            check(config)
            resolved = OmegaConf.to_container(config, resolve=True)
            build(resolved["data"])
            build_module(resolved)
            for node in resolved["callbacks"].values():
                build(node)
            build(resolved["trainer"])

        refused(whole)

    attempt()


# --- Files ------------------------------------------------------------------------------------------------------------


def damages(whole):
    """Some bytes changed, a part cut out, copied or cut off; or the file as it is."""
    place = st.integers(0, len(whole) - 1)
    change = st.one_of(
        st.tuples(st.just("set"), place, st.integers(0, 255)), st.tuples(st.just("cut"), place, st.integers(1, 64)),
        st.tuples(st.just("copy"), place, place), st.tuples(st.just("end"), place, st.just(0)),
    )  # fmt: skip
    return st.lists(change, max_size=6)


def damaged(whole, changes):
    found = bytearray(whole)
    for kind, place, number in changes:
        if kind == "set" and place < len(found):
            found[place] = number
        elif kind == "cut":
            del found[place : place + number]
        elif kind == "copy":
            found[place:place] = found[number : number + 16]
        elif kind == "end":
            del found[place:]
    return bytes(found)


KINDS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "TGA", "ICO", "QOI", "JPEG2000", "AVIF")


@pytest.mark.parametrize("examples", AMOUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_are_an_image_or_refused(examples, kind):
    if kind not in Image.SAVE and Image.init() and kind not in Image.SAVE:
        pytest.skip("this Pillow cannot write them")
    whole = encoded(kind, (16, 12))

    @tried(examples, changes=damages(whole))
    def attempt(changes):
        image = refused(lambda: decode(damaged(whole, changes), (3, 12, 16), True, "x"))
        assert image is None or (image.shape == (3, 12, 16) and image.dtype == torch.uint8)

    attempt()


@pytest.mark.parametrize("examples", AMOUNTS)
def test_any_bytes_are_a_parquet_file_or_refused(examples, tmp_path):
    whole = parquet_bytes(table(labels=[i % 3 for i in range(20)]))
    source, path = Parquet(), tmp_path / "x.parquet"

    @tried(4 * examples, changes=damages(whole))
    def attempt(changes):
        path.write_bytes(damaged(whole, changes))
        for entry in refused(lambda: list(source.find("train", path).stream)) or []:
            refused(lambda entry=entry: decode(entry.encoded, (3, 8, 8), True, entry.name))

    attempt()


@pytest.mark.parametrize("examples", AMOUNTS)
def test_any_bytes_are_a_checkpoint_or_refused(examples, tmp_path):
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(
        {"state_dict": {"a": torch.arange(9.0)}, "global_step": 3, "config": {"x": 1}}, path
    )
    whole = path.read_bytes()

    @tried(2 * examples, changes=damages(whole))
    def attempt(changes):
        path.write_bytes(damaged(whole, changes))
        found = refused(lambda: read_checkpoint(path))
        assert found is None or torch.equal(found["state_dict"]["a"], torch.arange(9.0))

    attempt()


@pytest.mark.parametrize("examples", AMOUNTS)
def test_any_bytes_are_a_configuration_or_refused(examples, tmp_path, compose_config):
    RunDirectory(tmp_path).write_config(
        {"seed": 0, "data": {"shape": [1, 8, 8]}, "model": {"_target_": "x", "a": [1.5, "b"]}}
    )
    path = tmp_path / "config.yaml"
    whole = path.read_bytes()

    @tried(examples, changes=damages(whole))
    def attempt(changes):
        path.write_bytes(damaged(whole, changes))
        found = refused(lambda: RunDirectory(tmp_path).config)
        assert found is None or isinstance(found, dict)

    attempt()
