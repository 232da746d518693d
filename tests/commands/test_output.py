"""Where commands write what the user asks for: nothing of anybody else's is lost."""

import os

import pytest

from inkwash.commands.output import output_folder
from inkwash.errors import UserError


def make(path):
    return output_folder(str(path), "sample.yaml", ("images", "grid.png"))


@pytest.mark.parametrize("name", ["images", "grid.png", "error.txt"])
def test_only_what_the_same_command_wrote_is_replaced(tmp_path, name):
    (tmp_path / "other.txt").touch()
    assert make(tmp_path) == tmp_path
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"^out={tmp_path} has {name} and no sample.yaml, so .*: choose another"):
        make(tmp_path)
    (tmp_path / "sample.yaml").touch()
    assert make(tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_a_run_is_no_folder_for_results(tmp_path, name):
    """Even if an older version has written some there."""
    for file in (name, "sample.yaml"):
        (tmp_path / file).touch()
    with pytest.raises(UserError, match=f"^out={tmp_path} is a run, whose files would be replaced: choose another"):
        make(tmp_path)
    assert make(tmp_path / "samples" / "mine").is_dir()


def test_what_is_no_folder_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="out=.*pipe cannot be made a folder"):
        make(tmp_path / "pipe")
