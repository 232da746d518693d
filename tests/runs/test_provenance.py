"""The commit of a run is that of Inkwash, or there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

from inkwash.runs import provenance
from inkwash.runs.provenance import commit, commit_of
from support.runs import ROOT


def git(*arguments, cwd):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def surrounding(tmp_path, monkeypatch):
    """Somebody's project, with an environment that it does not track, and in it our package."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    source = tmp_path / ".venv" / "lib" / "inkwash" / "runs" / "provenance.py"
    source.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, source)
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("init", "-q", cwd=tmp_path)
    git("add", ".gitignore", cwd=tmp_path)
    git("commit", "-q", "-m", "theirs", cwd=tmp_path)
    return source


def test_a_repository_that_merely_surrounds_the_environment_is_not_ours(surrounding, tmp_path):
    assert git("rev-parse", "HEAD", cwd=surrounding.parent).strip()  # git finds theirs
    assert commit_of(surrounding) is None
    git("add", "-f", str(surrounding), cwd=tmp_path)  # as people do who keep a copy of us
    git("commit", "-q", "-m", "ours", cwd=tmp_path)
    assert commit_of(surrounding) == git("rev-parse", "HEAD", cwd=tmp_path).strip()


def test_the_folder_of_the_command_and_gits_variables_do_not_matter(surrounding, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = commit_of(Path(provenance.__file__))
    assert ours == (git("rev-parse", "HEAD", cwd=ROOT).strip() if (ROOT / ".git").exists() else None)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert commit_of(Path(provenance.__file__)) == ours


def test_pages_that_runs_have_written_are_no_change_of_the_code(surrounding, tmp_path):
    git("add", "-f", str(surrounding), cwd=tmp_path)
    git("commit", "-q", "-m", "ours", cwd=tmp_path)
    states = []
    for name in ("experiments/studies/a/README.md", "docs/a.md", "conf/a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("new")
        states.append(provenance.is_changed(surrounding.parent))
    assert states == [False, False, True]


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    for known in (commit, provenance.version, provenance.checkout):
        known.cache_clear()
    try:
        assert (commit(), provenance.checkout(), provenance.version(), provenance.provenance()["dirty"]) == (
            None,
            None,
            None,
            False,
        )
    finally:
        commit.cache_clear()
        provenance.version.cache_clear()
        provenance.checkout.cache_clear()
