import inspect
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf/data"
FILES = sorted(CONF.glob("*.yaml"))


def arguments(target):
    return set(inspect.signature(get_class(target)).parameters)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_yaml_is_its_targets_arguments(file):
    data = OmegaConf.load(file)
    for node in (data, data.source):
        assert set(node) - {"_target_"} == arguments(node._target_)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_yaml_makes_a_module_that_writes_to_inkwash_data(file, monkeypatch):
    monkeypatch.setenv("INKWASH_DATA", "/big/disk")
    config = OmegaConf.create({"seed": 3, "data": OmegaConf.load(file)})
    for key, given in (("path", "/my/images"), ("shape", [3, 4, 4]), ("num_classes", None)):
        if OmegaConf.is_missing(config.data, key) or config.data[key] == "auto":
            config.data[key] = given
    module = instantiate(config.data)
    written = str(getattr(module.source, "cache_dir", module.path or "/big/disk"))
    assert module.seed == 3
    assert written.startswith("/big/disk")
