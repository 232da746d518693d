"""make explain: the pictures of experiments/explain can be drawn anew, and are those that the page shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "experiments" / "explain"
NAMES = re.findall(r"!\[[^]]+\]\((\w+)\.png\)", (FOLDER / "README.md").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_drawn_as_large_as_the_one_that_is_kept(name, tmp_path):
    command = [sys.executable, FOLDER / "draw.py", "--only", name, "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(tmp_path / f"{name}.png") as drawn, Image.open(FOLDER / f"{name}.png") as kept:
        assert drawn.size == kept.size
        assert len(drawn.convert("L").getcolors()) > 50  # more than an empty frame


def test_every_picture_is_on_the_page():
    assert sorted(f"{name}.png" for name in NAMES) == sorted(path.name for path in FOLDER.glob("*.png"))
