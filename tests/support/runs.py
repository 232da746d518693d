"""Configurations, run directories, and the environment of subprocesses."""

import json
import os
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from inkwash.commands import train
from inkwash.commands.auto_data import find
from inkwash.commands.auto_keys import is_auto, with_stand_ins
from inkwash.config.paths import config_dir
from inkwash.config.validate import check
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import provenance

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
# Seconds of training on a tiny network. A test that needs other values overrides them.
QUICK = (
    "debug=fast", "logger=csv", "trainer=cpu", "trainer.precision=32-true", "model.channels=8", "data.batch_size=16",
    "~callbacks.report",
)  # fmt: skip
# report.html, of which most tests see nothing, and which takes a second; as often as there is news.
WITH_PAGE = "+callbacks.report={_target_: inkwash.training.callbacks.report.Report, share: 1.0, search: 100000}"


# A small transformer, in place of the small U-Net.
DIT = ("model=dit_digits", "model.width=16", "model.depth=2", "model.num_heads=2")


def quick(*overrides: str) -> tuple[str, ...]:
    """Return QUICK for a command line, without the U-Net's width if it has that of a transformer."""
    transformer = any(override.startswith("model.width=") for override in overrides)
    return tuple(option for option in QUICK if not (transformer and option.startswith("model.channels=")))


def composed(*overrides: str, config_name: str = "train") -> dict:
    """Return the resolved configuration of a command line, checked as the command checks it."""
    assert train  # its import registers the schema and the resolver
    with initialize_config_dir(config_dir(), version_base="1.3"):
        config = compose(config_name, list(overrides))
    check(with_stand_ins(config))
    if is_auto(config) and Path(str(config.data.path)).expanduser().exists():
        find(config)
    config = with_stand_ins(config)
    check(config)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain


def write_run(directory: Path, *overrides: str) -> Path:
    """Write a run directory as the command leaves it for the ranks."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in composed(*overrides).items() if key not in ("run", "sweep", "resume")}
    RunDirectory(directory).write_config(config)
    record = {"id": "testrun1", "overrides": list(overrides), "sweep": None, "resume": "auto", **provenance()}
    record |= {key: value for key, value in RunDirectory(directory).record.items() if key == "data"}
    (directory / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    return directory


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with tests/ on PYTHONPATH, for subprocesses that import `support`."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    # A process of W&B that serves this process would keep the subprocess's records, and write them later or never.
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return {**own, "PYTHONPATH": path, **variables}
