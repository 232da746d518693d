"""Where commands write what the user asks for: nothing of anybody else's is lost, and no half of a file stays."""

import os

import pytest

from inkwash.commands import sample
from inkwash.errors import UserError
from inkwash.files import make_folder, write_text


def test_a_file_that_cannot_be_written_leaves_no_half(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(path, "new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named_with_its_key(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"out={folder} cannot be made a folder .*: choose another"):
            make_folder("out", folder)
    assert make_folder("out", tmp_path / "a" / "b").is_dir()
    assert make_folder("out", tmp_path / "a" / "b").is_dir()


def test_sampling_replaces_no_images_but_its_own(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=f"out={tmp_path} has images that were not drawn there"):
        sample.out_directory(str(tmp_path))
    (tmp_path / "sample.yaml").touch()
    assert sample.out_directory(str(tmp_path)) == tmp_path
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe cannot be made a folder"):
        sample.out_directory(str(tmp_path / "pipe"))
