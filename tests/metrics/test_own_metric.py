"""A metric of a package that the environment names: one class and one node, and everything knows which end is best."""

import json
import sys

import pytest
import torch

from inkwash.reports.evaluation_table import rows
from inkwash.runs.best import logged_directions
from inkwash.runs.directory import RunDirectory
from inkwash.sweeps import table
from inkwash.sweeps.direction import minimizes

NODE = "+metrics.zest._target_=freshly.made.Zest"
CLASS = '''
from .parts import Named
from inkwash.metrics import base

class Zest(Named, base.Measure):
    """Rises and falls from evaluation to evaluation, whatever the images are."""

    values = (0.2, 0.9, 0.4, 0.3, 0.1, 0.1)
    count = 0

    def update(self, features): ...

    def compute(self):
        Zest.count += 1
        return {"zest": self.values[Zest.count - 1], "zest_low": float(Zest.count)}
'''
PARTS = """
class Named:
    keys = ("zest_low", "zest")
    lower_is_better = None, False
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "freshly"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise_if_imported_too_early = True\n")
    (folder / "made.py").write_text(CLASS)
    (folder / "parts.py").write_text(PARTS)
    monkeypatch.setenv("INKWASH_TRUST", "support,freshly")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "freshly"]:
        del sys.modules[name]


def test_a_sweep_knows_its_direction_before_anything_is_imported(own_package, compose_config):
    metrics = compose_config("metrics=[interval]", NODE)["metrics"]
    for metric in (None, "zest", "zest_classifier_8"):
        assert not minimizes(metrics, metric), metric
    for metric in ("fd_low", "zest_low", "zest_low_classifier_8", "heldout_loss"):
        assert minimizes(metrics, metric), metric
    assert "freshly" not in sys.modules


def test_training_keeps_the_largest_and_stops_after_it(own_package, fit_run):
    """0.2, 0.9, 0.4, 0.3: the best is of step 2, and a patience of 2 ends the run after step 4."""
    directory, trainer, module = fit_run(
        "run", "metrics=[interval]", NODE, "callbacks=[default,early_stopping]", "trainer.max_steps=9",
        "callbacks.evaluation.every_n_steps=1", "callbacks.early_stopping.patience=2", "metrics.interval.resamples=2",
        "~callbacks.heldout", "~callbacks.samples",
    )  # fmt: skip
    # Early stopping comes first in the order of callbacks, so it sees a value one step later.
    assert trainer.global_step in (4, 5)
    stored = torch.load(directory / "checkpoints" / "best.ckpt", weights_only=True)
    assert (stored["global_step"], stored["scores"]["zest_classifier_8"]) == (2, 0.9)
    assert list(module.lower_is_better.items()) == [
        ("fd_low_classifier_8", None), ("fd_high_classifier_8", None),
        ("zest_low_classifier_8", None), ("zest_classifier_8", False),
    ]  # fmt: skip
    run = RunDirectory(directory)
    assert {name for name, lower in logged_directions(run).items() if lower is not None} == {
        "metrics/zest_classifier_8", "heldout/loss",
    }  # fmt: skip
    assert run.summary["metrics"]["zest_classifier_8"]["lower_is_better"] is False
    assert table.objective(directory, None) == run.summary["metrics"]["zest_classifier_8"]["value"]


def test_tables_put_the_largest_first(tmp_path):
    def record(name, value, lower):
        return {"name": name, "value": value, "lower_is_better": lower}

    results = []
    for name, zest in (("a", 0.2), ("b", 0.9), ("c", 0.4)):
        records = {n: record(n, *rest) for n, *rest in (("low_x_8", 1 - zest, None), ("zest_x_8", zest, False))}
        run = RunDirectory(tmp_path / name)
        run.path.mkdir()
        run.write_status("finished")
        run.write_record({"id": name, "overrides": [f"seed={name}"], "commit": "1"})
        numbers = {"steps": 4, "loss": 0.5, "images_per_second": 1.0}
        run.summary_path.write_text(json.dumps({"metrics": records, **numbers}))
        facts = dict.fromkeys(("sampler", "steps", "guidance", "seed", "weights", "num_images", "evaluations"))
        values = {name: record["value"] for name, record in records.items()}
        results.append({"name": name, **facts, "seconds": 1.0, "metrics": values, "records": records})
    assert [row["name"] for row in rows(results)] == ["b", "c", "a"]
    assert table.finish(tmp_path, ["a", "b", "c"]) == 0
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == ["b", "c", "a"]
