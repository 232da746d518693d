"""Studies of the lab book: intervals, pages from records alone, and a study from its command to its page."""

import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from inkwash.config.cli import compose
from inkwash.errors import UserError
from inkwash.runs.directory import RunDirectory
from labbook import board, interval, page, plot, reproduce, results, runner
from labbook.__main__ import main
from labbook.runner import evaluation, is_done
from labbook.study import ROOT, STUDIES, Study, all_studies

TINY = """
title: Tiny
question: How small can it be?
recipe: [model.channels=8, data.batch_size=16, trainer.max_steps=2, spacing.steps=2, logger=csv]
rows:
  v: []
  eps: [prediction=eps]
seeds: [0, 1]
evaluate:
  - ["sampler=ddim,ancestral", spacing.steps=2, "metrics=[fid]", num_images=32]
varied: [sampler]
metrics: [fd]
boards: {Digits: [v]}
"""


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "study.yaml").write_text(TINY)
    return tmp_path


def run_of(row, seed):
    study = Study("tiny", **yaml.safe_load(TINY))
    return study.training(row, seed).run if row in study.rows else "lab-of-another"


def entry(row="v", seed=0, fd=1.0, cell=None, evaluations=2):
    return {
        "row": row, "seed": seed, "run": run_of(row, seed),
        "cell": {"sampler": "ddim"} if cell is None else cell,
        "values": {"fd_classifier_32": fd},
        "floor": 0.5, "evaluations": evaluations, "images": 32, "seconds": 1.5, "heldout_loss": 0.25,
        "commit": "0123456789", "dirty": False, "versions": {"torch": "2.11", "python": "3.12"}, "machine": "CPU",
        "trainer": [],
    }  # fmt: skip


def test_intervals_hold_what_they_promise():
    """Of many draws of n normal values 95% of the intervals hold the mean, and those of one more value that value."""
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(1000, 4))
    means, nexts = 0, 0
    for *values, another in draws.tolist():
        low, high = interval.of_mean(values) or (0, 0)
        means += low <= 3.0 <= high
        low, high = interval.of_next(values) or (0, 0)
        nexts += low <= another <= high
    error = 3 * math.sqrt(0.95 * 0.05 / 1000)
    assert abs(means / 1000 - 0.95) < error
    assert abs(nexts / 1000 - 0.95) < error


def test_one_value_has_no_interval():
    assert interval.of_mean([1.0]) is interval.of_next([1.0]) is None
    assert page.shown([1.0]) == "1"


def test_the_same_training_is_one_run_in_all_studies(studies):
    study = Study.load("tiny", studies)
    names = [training.run for training in study.trainings()]
    assert len({*names}) == 4
    assert [(t.row, t.seed) for t in study.trainings()] == [("v", 0), ("eps", 0), ("v", 1), ("eps", 1)]
    again = Study("other", "", "", study.recipe, {"other name": []}, seeds=[1])
    assert again.trainings()[0].run == names[2]


def chain():
    """A study with a row that starts from the run of another."""
    rows = {"teacher": ["prediction=eps"], "student": ["loss=consistency", "init_from=row:teacher"]}
    return Study("chain", "", "", [], rows, seeds=[0, 1])


def test_a_row_takes_the_run_of_another_with_its_seed():
    trainings = {(training.row, training.seed): training for training in chain().trainings()}
    for seed in (0, 1):
        teacher, student = trainings["teacher", seed], trainings["student", seed]
        assert student.source == teacher
        assert student.words[:2] == ("loss=consistency", f"init_from={teacher.run}")
        assert teacher.source is None
    assert chain().command("student") == "inkwash train loss=consistency init_from=teacher"


def test_what_a_row_costs_has_the_run_it_takes(tmp_path):
    teacher, student = chain().trainings()[:2]
    for training, images, speed in ((teacher, 100, 10.0), (student, 60, 20.0)):
        (tmp_path / training.run).mkdir()
        summary = {"images": images, "images_per_second": speed}
        (tmp_path / training.run / "summary.json").write_text(json.dumps(summary))
    assert results.cost(teacher, tmp_path) == (100, 10.0)
    assert results.cost(student, tmp_path) == (160, 13.0)


def test_seeds_of_several_machines_are_one_table(studies):
    """What is known of runs that are not here stays, that of runs that are here goes, and that of no row, too."""
    study = Study.load("tiny", studies)

    def of(row, seed, machine, seconds=1.5):
        return entry(row, seed) | {"machine": machine, "seconds": seconds}

    known = [of("v", 0, "A"), of("v", 1, "A"), of("eps", 0, "A"), of("old", 0, "A")]
    merged = results.merge(study, known, [of("eps", 1, "B", 2.0), of("v", 1, "B", 2.0)])
    assert [(e["row"], e["seed"], e["machine"]) for e in merged] == [
        ("v", 0, "A"), ("eps", 0, "A"), ("v", 1, "B"), ("eps", 1, "B"),
    ]  # fmt: skip
    results.write(study, merged, studies)
    assert "| CPU" not in board.boards(studies)
    assert "| A; B | 2 |" in board.boards(studies)


def test_a_run_keeps_the_processor_it_was_made_on(studies):
    """Collected again, after a copy to another machine, and with a new training, which has other seconds."""
    study = Study.load("tiny", studies)
    [again] = results.merge(study, [entry()], [entry() | {"machine": "Other"}])
    assert again["machine"] == "CPU"
    [anew] = results.merge(study, [entry()], [entry() | {"machine": "Other", "seconds": 2.0}])
    assert anew["machine"] == "Other"


def test_what_is_known_of_a_row_that_has_changed_is_left_out(studies):
    study = Study.load("tiny", studies)
    results.write(study, [entry("v"), entry("eps")], studies)
    assert [e["row"] for e in results.read(study, studies)] == ["v", "eps"]
    (studies / "tiny" / "study.yaml").write_text(TINY.replace("prediction=eps", "prediction=x_0"))
    assert [e["row"] for e in results.read(Study.load("tiny", studies), studies)] == ["v"]


def test_what_is_not_evaluated_yet_has_no_entries(studies):
    """A study that was stopped after a training, before its evaluation."""
    study = Study.load("tiny", studies)
    training, evaluated = study.trainings()[:2]
    for each in (training, evaluated):
        run = RunDirectory(studies / each.run)
        run.path.mkdir()
        run.write_status("finished")
        run.write_record({"id": "x", "overrides": ["trainer.threads=1"], "commit": "0" * 40, "dirty": False,
                          "versions": {"torch": "2.11", "python": "3.12"}})  # fmt: skip
        summary = {"images": 32, "images_per_second": 16.0, "heldout_loss": 0.5, "metrics": {}}
        (run.path / "summary.json").write_text(json.dumps(summary))
    table = evaluation(study, studies / evaluated.run, 0) / "table.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps([{"name": "sampler=ddim", "metrics": {"fd_classifier_32": 2.0}, "evaluations": 2}]))
    [only] = results.collect(study, studies)
    assert (only["row"], only["cell"], only["seconds"]) == (evaluated.row, {"sampler": "ddim"}, 2.0)
    assert only["trainer"] == ["trainer.threads=1"]


def stopped_run(runs, training, config, summary):
    """Write what a training leaves that was stopped before its last step; without a summary if a signal did it."""
    run = RunDirectory(runs / training.run)
    run.path.mkdir(parents=True)
    run.write_config(config)
    run.write_status("stopped")
    run.write_record({"id": "x", "overrides": [], "commit": "0" * 40, "dirty": False,
                      "versions": {"torch": "2.11", "python": "3.12"}})  # fmt: skip
    if summary:
        (run.path / "summary.json").write_text(json.dumps(summary))
    return run


@pytest.mark.parametrize(("limited", "summarised"), [(True, True), (True, False), (False, True)])
def test_a_run_whose_time_is_over_has_entries(limited, summarised, tmp_path, compose_config):
    """It ends with its metrics, and would otherwise go on at the next call; one that a signal stopped goes on."""
    study = Study("limited", "", "", ["+trainer.options.max_time={seconds: 9}"], {"a": []}, seeds=[0])
    [training] = study.trainings()
    value = {"value": 2.0, "sampler": "DDIM", "steps": 20, "guidance": 1.0}
    summary = {"images": 64, "images_per_second": 16.0, "heldout_loss": 0.5, "metrics": {"fid_10k": value}}
    config = compose_config(*(study.recipe if limited else ()))
    run = stopped_run(tmp_path, training, config, summary | {"gpu": "NVIDIA H200"} if summarised else None)
    assert is_done(run) == (limited and summarised)
    found = results.collect(study, tmp_path)
    expected = ("a", {"fid_10k": 2.0}, 4.0, "NVIDIA H200")
    assert [(e["row"], e["values"], e["seconds"], e["machine"]) for e in found] == [expected] * is_done(run)


def test_a_study_has_the_rows_it_came_to(studies, monkeypatch):
    """Results are written after each training, not after the last alone."""
    study = Study.load("tiny", studies)
    made = []
    monkeypatch.setattr(runner, "make", lambda study, training, *_: made.append(training.row))
    seen = []
    runner.run(study, [], studies, after=lambda: seen.append(list(made)))
    assert seen == [["v"], ["v", "eps"], ["v", "eps", "v"], ["v", "eps", "v", "eps"]]


def test_a_new_seed_that_was_stopped_is_no_success(studies, monkeypatch):
    results.write(Study.load("tiny", studies), [entry(seed=0), entry(seed=1)], studies)
    monkeypatch.setattr(runner, "make", lambda study, training, *_: stopped_run(studies / "runs", training, {}, None))
    with pytest.raises(UserError, match="was stopped before its end"):
        reproduce.reproduce("tiny/v", [], studies / "runs", studies)


def test_evaluations_of_a_sampler(studies):
    made = {"sampler": "DDIM", "steps": 18, "guidance": 1.0}
    assert results.calls(made) == 18
    assert results.calls(made | {"sampler": "Heun"}) == 35  # 18 steps of Karras et al.
    assert results.calls(made | {"guidance": 1.5}) is None


def test_a_baseline_that_was_not_measured_leaves_its_column_empty(studies):
    (studies / "tiny" / "study.yaml").write_text(TINY + "baseline: v\n")
    lines = page.table(Study.load("tiny", studies), [entry("eps", fd=2.0)]).splitlines()
    assert lines[2].startswith("| eps | ddim | 2 |  | 4 |")


def test_distances_by_several_judges_are_drawn_in_floors(studies, monkeypatch):
    study = Study("tiny", "", "", [], {"a": ["~augment", "seed.of=1"], "b": ["seed.of=3"]}, plot={"x": "seed.of"})
    found = [entry("a", fd=1.0, cell={}), entry("b", fd=3.0, cell={}) | {"floor": 1.0}]
    drawn, series = [], plot.series

    def noted(study, values, *given):
        drawn.append(values)
        return series(study, values, *given)

    monkeypatch.setattr(plot, "series", noted)
    plot.draw(study, found, studies / "plot.png")
    assert drawn == [{("a",): [2.0], ("b",): [3.0]}]
    page.write(study, found, studies)
    assert "compare `floors`" in (studies / "tiny" / "README.md").read_text()


@pytest.mark.parametrize(
    ("values", "text"),
    [([1.0, 1.5], "1.25 (-1.9 to 4.4)"), ([1000.0, 1100.0], "1.05e+03 (415 to 1,685)"), ([2.0], "2")],
)
def test_an_interval_has_two_digits_and_no_exponent(values, text):
    assert page.shown(values) == text


def test_floors_are_those_of_each_entry():
    low, high = interval.of_mean([2.0, 3.0]) or (0, 0)
    assert page.floors([entry(fd=1.0), entry(fd=3.0) | {"floor": 1.0}]) == f"2.5 ({low:.2g} to {high:.2g})"
    assert page.floors([entry() | {"floor": None}]) == ""


def test_a_new_seed_is_compared_in_floors_of_its_own_judge():
    """A judge whose distances are ten times as large changes nothing; a distance twice as large does."""
    before = [entry(seed=seed, fd=fd) for seed, fd in ((0, 1.0), (1, 1.1), (2, 1.2))]
    low, high = interval.of_next([2.0, 2.2, 2.4]) or (0, 0)
    line, inside = reproduce.compare("v, ddim", before, [entry(fd=11.0) | {"floor": 5.0}], "fd")
    assert inside
    assert line == f"v, ddim: 2.2 floors, within {low:.3g} to {high:.3g} of 3 seeds"
    line, inside = reproduce.compare("v, ddim", before, [entry(fd=22.0) | {"floor": 5.0}], "fd")
    assert not inside
    assert "4.4 floors, OUTSIDE" in line
    line, inside = reproduce.compare("v, ddim", before, [entry(fd=1.1) | {"floor": None}], "fd")
    assert inside
    assert "1.1 fd, within" in line


@pytest.mark.parametrize("before", [[], [entry()], [entry(), entry(seed=1) | {"values": {}}]])
def test_a_new_seed_needs_two_before(before):
    with pytest.raises(UserError, match="v, ddim was not measured with fd before"):
        reproduce.compare("v, ddim", before, [entry()], "fd")


def test_a_board_takes_the_evaluations_that_it_names(studies):
    text = TINY.replace("boards: {Digits: [v]}", "boards: {Digits in two steps: {rows: [v], where: {sampler: 2}}}")
    (studies / "tiny" / "study.yaml").write_text(text)
    found = [entry(fd=1.0, cell={"sampler": "1"}), entry(fd=2.0, cell={"sampler": "2"})]
    results.write(Study.load("tiny", studies), found, studies)
    [line] = board.boards(studies).splitlines()[4:]
    assert line.startswith("| [tiny/v](studies/tiny/README.md), 2 | 2 | 4 |")


def test_a_table_has_a_line_for_each_row_and_setting(studies):
    study = Study.load("tiny", studies)
    found = [entry(seed=seed, fd=value) for seed, value in ((0, 1.0), (1, 2.0))]
    found += [entry("eps", fd=3.0, cell={"sampler": "ancestral"})]
    lines = page.table(study, found).splitlines()
    assert lines[0] == "| row | sampler | distance | floors | evaluations | images | seconds | seeds |"
    assert lines[2] == "| v | ddim | 1.5 (-4.9 to 7.9) | 3 (-9.7 to 16) | 2 | 32 | 2 | 2 |"
    assert lines[3] == "| eps | ancestral | 3 | 6 | 2 | 32 | 2 | 1 |"


def test_a_difference_is_that_of_pairs_with_one_seed(studies):
    """The seeds differ by 10 here, the rows by 1, 2 and 3."""
    (studies / "tiny" / "study.yaml").write_text(TINY + "baseline: v\n")
    study = Study.load("tiny", studies)
    found = [entry(seed=seed, fd=10.0 * seed) for seed in (0, 1, 2)]
    found += [entry("eps", seed=seed, fd=9.0 * seed - 1) for seed in (2, 0, 1, 3)]  # 3 has no pair
    low, high = interval.of_mean([-3.0, -1.0, -2.0]) or (0, 0)
    lines = page.table(study, found).splitlines()
    assert lines[0].startswith("| row | sampler | distance | minus v | floors |")
    assert lines[2].split(" | ")[3] == ""
    assert lines[3].split(" | ")[3] == f"-2 ({low:.2g} to {high:.2g})"


@pytest.mark.parametrize("options", [{}, {"log": True}, {"x": "evaluations"}, {"x": "seed.of", "log_x": False}])
def test_a_plot_is_drawn(studies, options):
    study = Study("tiny", "", "", [], {"a": ["seed.of=1"], "b": ["seed.of=3"]}, varied=["sampler"], plot=options)
    found = [entry(row, fd=fd, evaluations=n) for row, fd, n in (("a", 1, 2), ("a", 2, 2), ("b", 3, 4))]
    plot.draw(study, found, path := studies / "plot.png")
    assert path.stat().st_size > 5000


def test_a_line_goes_through_the_means(studies):
    study = Study("tiny", "", "", [], {"a": ["seed.of=1"], "b": ["seed.of=3"]}, varied=["sampler"])
    values = {("a", "ddim"): [1.0, 2.0], ("b", "ddim"): [3.0], ("a", "heun"): [5.0]}
    calls = {("a", "ddim"): 2, ("b", "ddim"): 4, ("a", "heun"): 8}
    lines = plot.series(study, values, calls, "seed.of")
    assert {name: [point[:2] for point in points] for name, points in lines.items()} == {
        "ddim": [(1.0, 1.5), (3.0, 3.0)], "heun": [(1.0, 5.0)],
    }  # fmt: skip
    low, high = interval.of_mean([1.0, 2.0]) or (0, 0)
    assert lines["ddim"][0][2] == (1.5 - low, high - 1.5)


@pytest.mark.parametrize(
    ("name", "key"),
    [("fd_classifier_1350", "fd"), ("fid_10k", "fd"), ("fid_low_10k", "fd_low"), ("memorised_pixels_64", "memorised"),
     ("fd_inception_12ab_64", "fd"), ("bits_per_dim", "bits_per_dim"), ("fd_dinov2_64", "fd")],
)  # fmt: skip
def test_the_key_of_a_name(name, key):
    assert page.short(name) == key


def test_the_leaderboard_has_the_best_first_and_what_is_missing_last(studies):
    results.write(Study.load("tiny", studies), [entry(fd=2.0), entry(fd=1.0, cell={"sampler": "heun"})], studies)
    (studies / "none").mkdir()
    (studies / "none" / "study.yaml").write_text(TINY)
    lines = board.boards(studies).splitlines()
    assert lines[0] == "### Digits"
    assert "heun" in lines[4]
    assert "ddim" in lines[5]
    assert "none/v](studies/none/README.md) | not measured" in lines[6]
    assert "none" not in board.studies_table(studies)


@pytest.mark.parametrize(
    ("content", "says"), [(TINY + "colour: red\n", "colour: a study has the keys"), (None, "study=tiny is none of")]
)
def test_a_study_that_cannot_be_read_is_told(tmp_path, content, says):
    if content:
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "study.yaml").write_text(content)
    with pytest.raises(UserError, match=says):
        Study.load("tiny", tmp_path)


@pytest.mark.parametrize("words", [["study=nope"], ["recipe=cifar10/EDM"], ["recipe=digits/nope"], ["seed=1"]])
def test_what_cannot_be_run_is_told(words):
    with pytest.raises(SystemExit, match=f"error: {words[0]}"):
        main(words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["study"], "make study: pass study=predictions; experiments/README.md"),
        (["reproduce", "study=digits"], "make reproduce: pass recipe=predictions/v; "),
        (["reproduce", "recipe=digits/nope"], "the study has the rows default; twice as wide, AdamW, 2000 steps;"),
        (["reproduce", "recipe=cifar10_hour"], "fewer than two seeds; add some to `seeds` in experiments/studies/"),
        (["reproduce", "recipe=few_steps_mnist/nope"], "EDM; ECT; flow; MeanFlow of flow$"),
    ],
)
def test_what_is_missing_is_told(words, says):
    """Nothing is written, as `make labbook` does without a word."""
    with pytest.raises(SystemExit, match=f"error: .*{says}"):
        main(words)


def test_what_makes_another_training_is_refused():
    with pytest.raises(SystemExit, match="error: trainer.max_steps=5: only trainer.threads="):
        main(["study=digits", "trainer.threads=1", "trainer.max_steps=5"])


def test_eight_minutes_of_a_gpu_are_one_command():
    """The study has no other row, whose training would follow for days; what is limited is less than eight minutes."""
    [training] = Study.load("cifar10_gpu").trainings()
    config = compose(*training.words)
    assert 300 <= config.trainer.options.max_time.seconds <= 400
    assert config.callbacks.samples.first_step is None  # ten images: compiled for them alone


@pytest.mark.sampled(every=8)
@pytest.mark.parametrize("study", all_studies(), ids=lambda study: study.name)
def test_every_training_and_evaluation_of_the_lab_book_composes(study):
    for row in study.rows:
        compose(*study.training(row, 0).words)
    for words in study.evaluate:
        compose(*(word if "[" in word else word.split(",")[0] for word in words), config_name="evaluate")


def test_a_study_that_was_measured_says_what_it_shows_and_what_did_not_work():
    """Those of the leaderboard alone may do without what did not work."""
    for study in filter(results.read, all_studies()):
        assert study.found, study.name
        assert study.shows, study.name
        assert study.failed or study.boards, study.name


@pytest.mark.parametrize("study", all_studies(), ids=lambda study: study.name)
def test_pages_are_written_from_their_results(study, tmp_path):
    """A number that was typed into a page, or a page of other results, is found here."""
    (tmp_path / study.name).mkdir()
    page.write(study, results.read(study), tmp_path)
    assert (tmp_path / study.name / "README.md").read_text() == (STUDIES / study.name / "README.md").read_text()


def test_the_leaderboard_is_written_from_the_results(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text((ROOT / "experiments" / "README.md").read_text())
    board.write(copy)
    assert copy.read_text() == (ROOT / "experiments" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_from_its_command_to_its_page_and_again(studies):
    code = f"""
from pathlib import Path
from labbook import page, reproduce, results, runner
from labbook.study import Study
studies, runs = Path({str(studies)!r}), Path({str(studies / "runs")!r})
study = Study.load("tiny", studies)
runner.run(study, ["trainer.threads=1"], runs)
results.write(study, results.collect(study, runs), studies)
page.write(study, results.read(study, studies), studies)
runner.run(study, ["trainer.threads=1"], runs)
print("within", reproduce.reproduce("tiny/v", ["trainer.threads=1"], runs, studies))
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((studies / "tiny" / "results.json").read_text())
    assert [(e["row"], e["seed"], e["cell"]["sampler"]) for e in found] == [
        (row, seed, sampler) for seed in (0, 1) for row in ("v", "eps") for sampler in ("ddim", "ancestral")
    ]
    measured = [
        result["metrics"]
        for training in Study.load("tiny", studies).trainings()
        for table in (studies / "runs" / training.run).glob("evaluations/*/table.json")
        for result in json.loads(table.read_text())
    ]
    assert sorted(map(str, measured)) == sorted(str(e["values"]) for e in found)
    assert "| v | ddim |" in (studies / "tiny" / "README.md").read_text()
    assert (studies / "tiny" / "plot.png").exists()
    logs = [path.read_text() for path in (studies / "runs").glob("*.log")]
    assert len(logs) == 5  # four runs, and the one of the new seed
    assert all(log.count("steps of 16 images") == 1 for log in logs)  # the second time nothing was trained
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[-3:-1]] == ["v, ddim", "v, ancestral"]
    inside = []
    for line in lines[-3:-1]:
        value, low, high = map(float, re.findall(r": ([0-9.e+-]+) floors, .* ([0-9.e+-]+) to ([0-9.e+-]+) of", line)[0])
        inside.append(low < value < high)
        assert ("OUTSIDE" in line) != inside[-1]
    assert lines[-1] == f"within {all(inside)}"
