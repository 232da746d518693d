"""The W&B workspace of a project."""

import json

from wandb_workspaces.workspaces import Workspace
from wandb_workspaces.workspaces.internal import View

from inkwash.tracking.wandb_workspace import Logged, build, to_json
from support.wandb_panels import shown_by

LOGGED = Logged(
    values=[
        "metrics/accuracy_classifier_1350", "metrics/fd_classifier_1350_of_train_images", "metrics/fd_classifier_1350",
        "train/loss", "train/grad_norm", "train/images_per_second", "heldout/loss", "loss_by_log_snr/-2.5_to_0",
        "loss_by_log_snr/-10_to_-7.5", "loss_by_log_snr/-inf_to_-10",
    ],
    pictures=["samples"],
    tables=["samples_by_class"],
    settings=["run.choices.schedule", "optimizer.lr"],
    directions={"metrics/fd_classifier_1350": True, "metrics/accuracy_classifier_1350": False, "heldout/loss": True},
    data=["train    1,347 images", "classes  2: cat 7, dog 8"],
)  # fmt: skip


def test_the_workspace_survives_the_librarys_model():
    text = to_json(build(LOGGED, "us", "inkwash", "Inkwash"))
    again = Workspace._from_model(View.model_validate_json(text))
    assert to_json(again) == text
    assert [section.name for section in again.sections] == ["Quality", "Samples", "Training", "Sweeps", "Data"]
    assert "classes  2: cat 7, dog 8" in text


def test_every_value_has_a_panel_against_the_step():
    view = json.loads(to_json(build(LOGGED, "us", "inkwash", "Inkwash")))
    assert shown_by(view) == {
        "history": set(LOGGED.values),
        "summary": {"best/fd_classifier_1350", "best/accuracy_classifier_1350", "best/heldout_loss"},
        "config": {"run.choices.schedule", "optimizer.lr"},
        "media": {"samples", "samples_by_class"},
    }
    panels = [p for s in view["spec"]["section"]["panelBankConfig"]["sections"] for p in s["panels"]]
    lines = [panel["config"] for panel in panels if panel["viewType"] == "Run History Line Plot"]
    assert {line["xAxis"] for line in lines} == {"trainer/global_step"}
    assert lines[0]["metrics"] == ["metrics/fd_classifier_1350", "metrics/fd_classifier_1350_of_train_images"]
    by_noise = next(line["metrics"] for line in lines if line["chartTitle"] == "loss by log SNR")
    assert by_noise == [f"loss_by_log_snr/{name}" for name in ("-inf_to_-10", "-10_to_-7.5", "-2.5_to_0")]


def test_runs_are_sorted_by_the_first_metric():
    directions = {"metrics/fid_10k": True, "metrics/precision_x_8": False, "metrics/accuracy_x_8": False}

    def first(*values):
        logged = Logged(values, [], [], [], {**directions, "heldout/loss": True})
        view = json.loads(to_json(build(logged, "us", "inkwash", "Inkwash")))
        return [(key["key"]["name"], key["ascending"]) for key in view["spec"]["section"]["runSets"][0]["sort"]["keys"]]

    assert first("heldout/loss", "metrics/accuracy_x_8", "metrics/fid_10k") == [("best/fid_10k", True)]
    assert first("metrics/precision_x_8") == [("best/precision_x_8", False)]
    assert first("train/loss") == []
