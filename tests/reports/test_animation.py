"""Animations: every picture in its order, the last one longer, and a film where ffmpeg is."""

import json
import shutil
import subprocess

import pytest
import torch
from PIL import Image, ImageSequence

from inkwash.reports.animation import save_animation

SHEETS = [torch.full((3, 7, 9), level, dtype=torch.uint8) for level in (0, 80, 160, 255)]


def test_a_gif_has_every_picture_and_stays_at_the_last(tmp_path):
    save_animation(SHEETS, tmp_path / "way")
    with Image.open(tmp_path / "way.gif") as film:
        frames = [(f.convert("L").getpixel((4, 3)), f.info["duration"]) for f in ImageSequence.Iterator(film)]
        assert film.info["loop"] == 0
    assert frames == [(0, 100), (80, 100), (160, 100), (255, 2000)]


def test_without_ffmpeg_there_is_no_film(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    save_animation(SHEETS, tmp_path / "way")
    assert [path.name for path in tmp_path.iterdir()] == ["way.gif"]


def test_an_ffmpeg_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    save_animation(SHEETS, tmp_path / "way")
    assert [path.name for path in tmp_path.iterdir()] == ["way.gif"]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffmpeg")
def test_a_film_of_ffmpeg_has_even_sides(tmp_path):
    save_animation(SHEETS, tmp_path / "way")
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", tmp_path / "way.mp4"]
    (stream,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (10, 8, "24")
