"""The table of a sweep, and the objective of a study."""

import csv
import json

import pytest

from inkwash.errors import UserError
from inkwash.files import read_json, write_text
from inkwash.runs.best import HELDOUT_LOSS
from inkwash.runs.directory import RunDirectory
from inkwash.sweeps import table


def a_job(directory):
    """What the table reads of a job that has finished."""
    directory.mkdir(parents=True)
    summary = {"metrics": {"fid": {"value": 2.0}}, "steps": 4, "loss": 0.5, "images_per_second": 9.0}
    write_text(directory / "summary.json", json.dumps(summary))
    write_text(directory / "run.json", json.dumps({"id": "x", "overrides": [f"seed={directory.name}"]}))
    RunDirectory(directory).write_status("finished")


def test_jobs_of_different_code_are_told_apart(tmp_path, capsys):
    """What was done already is not trained again, though the code has changed since."""
    told = "the jobs were trained by different versions of the code"
    for job, about in (("1", {"commit": "abc"}), ("2", {"commit": "abc"}), ("3", {"commit": "abc", "dirty": True})):
        a_job(tmp_path / job)
        about |= read_json(tmp_path / job / "run.json")
        write_text(tmp_path / job / "run.json", json.dumps(about))
        assert table.finish(tmp_path, [job]) == 0
        assert (told in capsys.readouterr().out) == (job == "3")
    with open(tmp_path / "sweep.csv") as file:
        assert [row["commit"] for row in csv.DictReader(file)] == ["abc", "abc", "abc-dirty"]


def test_a_choice_of_loss_is_not_lost_behind_its_value(tmp_path, capsys):
    for job, loss in (("1", "l1"), ("2", "l2")):
        a_job(tmp_path / job)
        write_text(tmp_path / job / "run.json", json.dumps({"id": "x", "overrides": [f"loss={loss}"]}))
    assert table.finish(tmp_path, []) == 0
    with open(tmp_path / "sweep.csv") as file:
        found = [(row["job"], row["loss"], row["train_loss"]) for row in csv.DictReader(file)]
    assert found == [("1", "l1", "0.5"), ("2", "l2", "0.5")]
    header = next(line for line in capsys.readouterr().out.splitlines() if "images/s" in line)
    assert [cell.strip() for cell in header.strip("┃").split("┃")] == ["loss", "fid", "train_loss", "images/s", "state"]


def test_no_key_is_called_like_a_column(compose_config):
    assert compose_config().keys().isdisjoint({"job", "state", *table.FACTS, HELDOUT_LOSS})


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"5", b"\xff", None])
@pytest.mark.parametrize("name", ["status.json", "run.json", "summary.json"])
def test_a_damaged_file_of_a_job_costs_only_its_row(tmp_path, capsys, name, content):
    for job in ("1", "2"):
        a_job(tmp_path / job)
    (tmp_path / "other").mkdir()
    (tmp_path / "1" / name).unlink()
    if content is not None:
        (tmp_path / "1" / name).write_bytes(content)
    assert not table.done(tmp_path / "1")  # so the same sweep runs it again
    assert table.done(tmp_path / "2")
    assert table.finish(tmp_path, ["1", "2"]) == 1
    if name != "status.json":
        assert f": {tmp_path / '1' / name} is missing or damaged: restore it from a copy\n" in capsys.readouterr().out
    with open(tmp_path / "sweep.csv") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert (rows["2"]["state"], rows["2"]["fid"]) == ("finished", "2.0")
    assert rows.get("1", {"state": "lost"})["state"] == "lost"


def test_the_objective_is_a_metric_that_was_measured(tmp_path):
    (tmp_path / "summary.json").write_text('{"metrics": {"fd_x_8": {"value": 3}, "kid_x_8": {"value": 1}}}')
    assert table.objective(tmp_path, None) == 3
    assert table.objective(tmp_path, "kid") == 1
    with pytest.raises(UserError, match=r"hydra.sweeper.metric=isc was not measured in .*, but fd_x_8, kid_x_8"):
        table.objective(tmp_path, "isc")
