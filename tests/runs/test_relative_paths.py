from pathlib import Path

import pytest

from inkwash.runs.directory import RunDirectory
from inkwash.runs.relative_paths import found, place

GIVEN = {"a": 1, "data": {"path": "../photos", "source": {"heldout_path": "val/*.tar", "x": 2}, "shape": [1, 2, 3]}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder where a training was started, with its run and the images; commands are typed elsewhere."""
    for folder in ("project/runs/sweep/job", "project/val", "photos", "else/where"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "else/where")
    (tmp_path / "project/val/1.tar").touch()
    return tmp_path / "project"


@pytest.mark.parametrize("run", ["runs/one", "runs/sweep/job"])
@pytest.mark.parametrize("start", ["{}", "../../project"])
def test_images_are_found_from_another_folder(project, run, start):
    config = found(GIVEN, Path(start.format(project)) / run, "runs")
    assert config["data"]["path"] == str(project.parent / "photos")
    assert config["data"]["source"] == {"heldout_path": str(project / "val/*.tar"), "x": 2}
    assert (config["a"], config["data"]["shape"]) == (1, [1, 2, 3])


def test_a_linked_folder_of_runs_counts_from_where_its_link_lies_and_from_where_it_is(project, tmp_path):
    (tmp_path / "link").mkdir()
    (tmp_path / "link/runs").symlink_to(project / "runs")
    assert found(GIVEN, tmp_path / "link/runs/one", "runs")["data"]["source"]["heldout_path"] == f"{project}/val/*.tar"
    (tmp_path / "link/val").mkdir()
    (tmp_path / "link/val/2.tar").touch()
    heldout = found(GIVEN, tmp_path / "link/runs/one", "runs")["data"]["source"]["heldout_path"]
    assert heldout == f"{tmp_path}/link/val/*.tar"


@pytest.mark.parametrize("path", [None, "", "/x/photos", "~/photos", "nowhere", "a-{0..2}.tar", "*.tar"])
def test_other_paths_stay(project, path):
    config = {"data": {"path": path}}
    assert found(config, project / "runs/one", "runs") == config


def test_what_is_there_from_here_is_taken(project, monkeypatch):
    monkeypatch.chdir(project)
    assert found(GIVEN, project / "runs/one", "runs") == GIVEN


@pytest.mark.parametrize("pattern", ["val/{0..1}.tar", "val/**/*.tar", "v*/1.tar"])
def test_patterns_are_found(project, pattern):
    assert found({"data": {"path": pattern}}, project / "runs/one", "runs")["data"]["path"] == f"{project}/{pattern}"


def test_configurations_without_images_stay(project):
    for config in ({}, {"data": None}, {"data": {"shape": [1]}}):
        assert found(config, project / "runs/one", "runs") == config


def test_a_run_reads_its_configuration_so(project):
    text = (Path(__file__).parents[1] / "golden/runs/hybrid/config.yaml").read_text()
    assert "  path: null" in text
    (project / "runs/one").mkdir()
    (project / "runs/one/config.yaml").write_text(text.replace("  path: null", "  path: val"))
    assert RunDirectory(project / "runs/one").config["data"]["path"] == str(project / "val")


def test_the_place_of_a_run_keeps_the_links_from_which_its_paths_count(project, tmp_path, monkeypatch):
    (tmp_path / "link").mkdir()
    (tmp_path / "link/runs").symlink_to(project / "runs")
    (project / "runs/one").mkdir()
    (project / "runs/latest").symlink_to("one")
    monkeypatch.chdir(tmp_path / "link")
    for name in ("runs/one", "runs/latest", "../link/runs/./latest"):
        assert place(Path(name)) == tmp_path / "link/runs/one"
    (project / "runs/two").symlink_to(tmp_path / "photos")
    assert place(Path("runs/two")) == tmp_path / "link/runs/two"
