"""Runs beside each other, and what of them does not compare."""

import json
from shutil import copytree

import pytest
from tests.reports.conftest import fill

from inkwash.reports.comparison import (
    Compared,
    curves_section,
    difference_section,
    overview_section,
    samples_section,
    write_comparison,
)
from inkwash.reports.run_files import RunFiles
from inkwash.reports.same_noise import same_noise
from inkwash.runs.directory import RunDirectory

LATENTS = {"autoencoder": {"_target_": "support.autoencoders.Blocks", "latent_shape": [4, 4, 4]}}
ALONE = {"model": {"num_classes": None}}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    more = ("prediction=eps", "callbacks.samples.seed=5")
    return fill(tmp_path_factory.mktemp("runs") / "other", *more, offset=0.25)


@pytest.fixture
def both(filled, other):
    return Compared([RunDirectory(filled), RunDirectory(other)])


def test_curves_of_all_runs_are_over_each_other(both):
    charts = {chart.title: chart for chart in curves_section(both).blocks}
    assert [trace.name for trace in charts["held-out loss"].figure.data] == ["mine", "other"]
    metric = charts["fd_classifier_64"].figure
    assert [trace.y[-1] for trace in metric.data] == pytest.approx([100 * (0.5 + 1 / 30), 100 * (0.25 + 1 / 30)])
    assert [shape.y0 for shape in metric.layout.shapes] == [3.5]
    assert len({trace.line.color for trace in metric.data}) == 2


def test_losses_of_other_targets_do_not_compare(both):
    curves_section(both)
    assert "the losses do not compare: the runs differ in prediction" in both.told()


def changed(of, name, nodes):
    """Write a run that has nothing but the configuration of another, with other nodes."""
    run = RunDirectory(of.parent / "changed" / name)
    run.path.mkdir(parents=True, exist_ok=True)
    config = RunDirectory(of).config
    run.write_config(config | {key: (config.get(key) or {}) | node for key, node in nodes.items()})
    return run


def test_losses_of_latents_do_not_compare_with_those_of_pixels(filled):
    compared = Compared([RunDirectory(filled), changed(filled, "latents", LATENTS)])
    curves_section(compared)
    assert "the losses do not compare: the runs differ in autoencoder" in compared.told()


def measured(of, folder, **changes):
    """Copy a run, and change what its metric was measured with."""
    run = RunDirectory(copytree(of, folder))
    records = [json.loads(line) | changes for line in run.metrics_jsonl.read_text().splitlines()]
    run.metrics_jsonl.write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 100, "sampler": "Heun"}, "sampler, steps"),
        ({"extractor_hash": "other"}, "the extractor's weights"),
        ({"weights": "raw", "guidance": 2.0}, "weights, guidance"),
    ],
)
def test_metrics_that_were_measured_in_other_ways_are_told(changes, words, filled, tmp_path):
    compared = Compared([RunDirectory(filled), measured(filled, tmp_path / "second", **changes)])
    curves_section(compared)
    assert f"fd_classifier_64 was measured in different ways: the runs differ in {words}" in compared.told()


def test_seeds_and_commits_may_differ(filled, tmp_path):
    compared = Compared([RunDirectory(filled), measured(filled, tmp_path / "second", seed=7, commit="another")])
    curves_section(compared)
    assert not any("different ways" in text for text in compared.told())


def test_grids_side_by_side_say_whether_their_noise_is_the_same(both, filled, tmp_path):
    section = samples_section(both)
    assert section is not None
    (shown,) = section.blocks
    assert [label for label, _ in shown.parts] == ["mine, step 30", "other, step 30"]
    assert shown.text == "They begin from different noise: callbacks.samples.seed is 0 in mine; 5 in other."
    same = samples_section(Compared([RunDirectory(filled), RunDirectory(copytree(filled, tmp_path / "copy"))]))
    assert same is not None
    assert same.blocks[0].text == "Image i of every run begins from the same noise, and is of the same class."


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ({}, "Image i of every run begins from the same noise, and is of the same class."),
        (
            ALONE,
            "Image i of every run begins from the same noise, but is not of the same class: model.num_classes is 10 in "
            "a; none in b.",
        ),
        (LATENTS, "They begin from different noise: the networks draw 1 x 8 x 8 in a; 4 x 4 x 4 in b."),
    ],
)
def test_noise_is_of_the_networks_shape_and_classes_are_its_own(filled, nodes, text):
    runs = {name: RunFiles(changed(filled, name, more)) for name, more in (("a", {}), ("b", nodes))}
    assert same_noise(list(runs.items())) == text


def test_without_classes_or_with_other_names_nothing_is_said_of_the_same_class(filled):
    alone = RunFiles(changed(filled, "alone", ALONE))
    assert same_noise([("a", alone), ("b", alone)]) == "Image i of every run begins from the same noise."
    assert same_noise([("a", alone)]) == ""
    named = RunFiles(RunDirectory(filled))
    named.record["data"]["classes"] = list("abcdefghij")
    text = "Image i of every run begins from the same noise, and is of the class of the same number."
    assert same_noise([("a", RunFiles(RunDirectory(filled))), ("b", named)]) == text


def test_only_the_runs_that_are_shown_decide_about_the_noise(filled, other, tmp_path):
    """The seed of a run without a grid is no matter."""
    runs = [filled, copytree(filled, tmp_path / "again"), copytree(other, tmp_path / "none")]
    for path in (tmp_path / "none" / "samples").iterdir():
        path.unlink()
    section = samples_section(Compared([RunDirectory(path) for path in runs]))
    assert section is not None
    assert section.blocks[0].text.startswith("Image i of every run begins from the same noise")


def test_training_and_heldout_loss_are_columns_of_their_own(filled, tmp_path):
    """One run measures no held-out loss: its training loss is not set beside the other's held-out loss."""
    lacking = copytree(filled, tmp_path / "lacking")
    text = (lacking / "metrics.csv").read_text().replace("heldout/loss", "train/other")
    (lacking / "metrics.csv").write_text(text)
    (table,) = overview_section(Compared([RunDirectory(filled), RunDirectory(lacking)])).blocks
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    training = 0.5 + 1 / 30
    assert [row["training loss"] for row in rows] == pytest.approx([training, training])
    assert [row["held-out loss"] for row in rows] == [pytest.approx(1.1 * training), None]
    assert "loss" not in table.columns


def test_the_difference_of_configurations(both):
    section = difference_section(both)
    assert section is not None
    rows = {key: values for key, *values in section.blocks[0].rows}
    assert rows["callbacks.samples.seed"] == ["0", "5"]
    assert rows["prediction._target_"] == ["inkwash.process.predictions.V", "inkwash.process.predictions.Eps"]
    assert "model.channels" not in rows


def test_runs_that_have_nothing_in_common(filled, tmp_path):
    (tmp_path / "empty").mkdir()
    compared = Compared([RunDirectory(filled), RunDirectory(tmp_path / "empty")])
    overview_section(compared)
    samples_section(compared)
    curves_section(compared)
    assert difference_section(compared) is None
    told = compared.told()
    assert "empty has no grid of samples that can be shown" in told
    assert "train/loss was not measured in empty" in told
    assert "fewer than two of the runs have a configuration that can be read" in told
    write_comparison(tmp_path / "page.html", [RunDirectory(filled), RunDirectory(tmp_path / "empty")])
    assert "could not be drawn" not in (tmp_path / "page.html").read_text()


def test_runs_of_one_name_are_told_apart_by_their_paths(filled, tmp_path):
    (tmp_path / "mine").mkdir()
    assert list(Compared([RunDirectory(filled), RunDirectory(tmp_path / "mine")]).runs) == [
        str(filled), str(tmp_path / "mine"),
    ]  # fmt: skip
