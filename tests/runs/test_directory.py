"""Files and folders are made whole or not at all."""

import pytest

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
