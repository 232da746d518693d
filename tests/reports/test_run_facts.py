"""The section about the schedule, from numbers that were computed while the run trained."""

import json
import shutil

import pytest

from inkwash.reports.run_facts import schedule_section
from inkwash.reports.run_files import RunFiles
from inkwash.runs.directory import RunDirectory

PATH = {"u": [0.0, 0.5, 1.0], "alpha": [1.0, 0.7, 0.1], "sigma": [0.1, 0.7, 1.0], "log_snr": [4.0, 0.0, -4.0]}
NUMBERS = {
    "own": "cosine", "paths": {"linear": PATH, "edm": {**PATH, "sigma": [0.1, 1.0, 80.0]}, "cosine": PATH},
    "sampling": {"u": [1.0, 0.5], "log_snr": [-4.0, 0.0]},
    "density": {"log_snr": [-1.0, 1.0], "y": [0.2, 0.4]}, "weight": {"log_snr": [-4.0, 4.0], "y": [1.0, 1.0]},
}  # fmt: skip
SCHEDULES = json.dumps(NUMBERS)


@pytest.fixture
def files(filled, tmp_path):
    run = RunDirectory(shutil.copytree(filled, tmp_path / "mine"))
    (run.report_folder / "schedules.json").write_text(SCHEDULES)
    return RunFiles(run)


def test_the_own_path_lies_over_the_others_with_its_sampling_times(files):
    section = schedule_section(files)
    assert section is not None
    paths, factors, emphasis = section.blocks
    names = [trace.name for trace in paths.figure.data]
    assert names == ["linear", "edm", "cosine (this run)", "sampling times"]
    assert paths.figure.data[-1].y == (-4.0, 0.0)
    assert "runs from log SNR 4 to -4; the sampler visits 2 times" in paths.text
    assert factors.text == "alpha goes from 1 to 0.1, sigma from 0.1 to 1."
    assert emphasis.figure.data[0].y == (0.5, 1.0)
    assert "weight of the loss in target space: the same everywhere" in emphasis.text


def test_every_schedule_has_a_look_of_its_own(files):
    path = NUMBERS["paths"][NUMBERS["own"]]
    many = {**NUMBERS, "paths": dict.fromkeys((*"abcdefghij", NUMBERS["own"]), path)}
    (files.run.report_folder / "schedules.json").write_text(json.dumps(many))
    section = schedule_section(RunFiles(files.run))
    assert section is not None
    looks = [trace.marker.color or (trace.line.color, trace.line.dash) for trace in section.blocks[0].figure.data]
    assert len(set(looks)) == len(looks) == 12


def test_a_path_of_large_noise_has_a_logarithmic_axis(files):
    (files.run.report_folder / "schedules.json").write_text(json.dumps({**NUMBERS, "own": "edm"}))
    section = schedule_section(RunFiles(files.run))
    assert section is not None
    assert section.blocks[1].figure.layout.yaxis.type == "log"


def test_without_the_numbers_there_is_no_section(files):
    (files.run.report_folder / "schedules.json").write_text("{")
    assert schedule_section(RunFiles(files.run)) is None
