"""The page that a training writes."""

import json
import re

import pytest
import torch

from inkwash.errors import UserError
from inkwash.reports.run_report import run_page
from inkwash.runs.directory import RunDirectory
from inkwash.training.callbacks.report import Report
from support.runs import WITH_PAGE
from support.training import NO_METRIC, checkpoint, rows


def reporter(trainer):
    return next(c for c in trainer.callbacks if isinstance(c, Report))


def test_a_training_leaves_a_page_that_lacks_nothing(fit_run):
    directory, trainer, _ = fit_run("run", NO_METRIC, WITH_PAGE)
    run = RunDirectory(directory)
    assert sorted(path.name for path in run.report_folder.iterdir() if path.suffix == ".png") == [
        "forward.png", "nearest.png", "real.png", "reverse.png",
    ]  # fmt: skip
    html = run.report_path.read_text()
    assert "step 4 of 4 (100%)" in html
    page = run_page(run)
    assert page.missing == []
    assert {"samples", "curves", "noise", "classes", "reverse", "forward", "schedule", "neighbours", "data"} <= {
        section.name for section in page.sections
    }
    assert reporter(trainer).seconds > 0


@pytest.mark.slow
def test_the_page_grows_with_grids_and_metrics(fit_run):
    """A spy after the report keeps what it said after each step: grids and held-out losses come at 2 and 4."""
    spy = "+callbacks.spy._target_=support.parts.PageSteps"
    directory, _, _ = fit_run("run", NO_METRIC, WITH_PAGE, spy)
    assert json.loads((directory / "page_steps.json").read_text()) == ["step 0", "step 2", "step 2", "step 4"]


@pytest.mark.slow
def test_weights_and_numbers_are_the_same_without_it(fit_run):
    found = {}
    for name, options in (("with", [WITH_PAGE]), ("without", [])):
        directory, _, _ = fit_run(name, NO_METRIC, *options)
        values = [{k: v for k, v in row.items() if "per_second" not in k} for row in rows(directory)]
        found[name] = checkpoint(directory)["state_dict"], values
    assert found["with"][1] == found["without"][1]
    assert all(torch.equal(found["with"][0][key], value) for key, value in found["without"][0].items())


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("where", ["report.html", "report"])
def test_what_cannot_be_written_stops_no_training(fit_run, quick_run, where, caplog):
    blocked = quick_run("run", NO_METRIC) / where
    if where == "report":
        blocked.write_text("a file where the folder should be")
    else:
        blocked.mkdir()
    directory, trainer, _ = fit_run("run", NO_METRIC, WITH_PAGE)
    assert trainer.global_step == 4
    assert (directory / "checkpoints" / "last.ckpt").exists()
    warned = [
        record.message for record in caplog.records if record.message.startswith("report       cannot be written")
    ]
    assert len(warned) == 1


def test_it_takes_no_more_than_its_share(fit_run):
    """After the first page comes that of the first news, at step 2; at a share of 1e-9 none but the last follows."""
    spy = "+callbacks.spy._target_=support.parts.PageSteps"
    directory, _, _ = fit_run(
        "run",
        NO_METRIC,
        WITH_PAGE,
        "callbacks.report.share=1e-9",
        spy,
        "trainer.max_steps=8",
        "callbacks.report.search=0",
    )
    assert json.loads((directory / "page_steps.json").read_text()) == ["step 0", *["step 2"] * 6, "step 8"]
    assert not (directory / "report" / "nearest.png").exists()


@pytest.mark.parametrize("more", [{"share": 0}, {"share": 2}, {"search": -1}])
def test_odd_settings_are_refused(more):
    with pytest.raises(UserError, match=re.escape("callbacks.report: share=")):
        Report(**more)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("schedule=edm", "prediction=edm", "sampler=heun", "spacing=karras"), ("schedule=flow", "prediction=flow"),
        ("model.num_classes=null",), ("times=importance", "times.T=${schedule.betas.T}"), ("loss=vlb",),
        ("weighting=uncertainty",), ("~callbacks.samples",),
    ],
)  # fmt: skip
def test_every_kind_of_training_has_its_page(fit_run, options):
    directory, _, _ = fit_run("run", NO_METRIC, WITH_PAGE, *options)
    missing = run_page(RunDirectory(directory)).missing
    drawn = ["there is no grid of samples yet", "the reverse process was not drawn yet"]
    assert [m for m in missing if not any(m.startswith(d) for d in drawn)] == []
    assert bool(missing) == ("~callbacks.samples" in options)
