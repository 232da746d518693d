"""Save pictures one after the other as an animation."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from inkwash.files import replacing

ENDS = (".gif", ".mp4")
PER_SECOND, HOLD = 10, 2.0  # pictures; seconds that the last one stays


def save_animation(sheets: Sequence[Tensor], path: Path) -> None:
    """Write pictures uint8 (3, H, W) as PATH.gif, and as PATH.mp4 if there is ffmpeg."""
    pictures = [Image.fromarray(sheet.permute(1, 2, 0).cpu().numpy()) for sheet in sheets]
    times = [1000 // PER_SECOND] * (len(pictures) - 1) + [int(1000 * HOLD)]
    with replacing(path.with_suffix(".gif")) as partial:
        pictures[0].save(partial, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)
    if ffmpeg := shutil.which("ffmpeg"):
        _save_mp4(ffmpeg, pictures + [pictures[-1]] * int(HOLD * PER_SECOND), path.with_suffix(".mp4"))


def _save_mp4(ffmpeg: str, pictures: Sequence[Image.Image], path: Path) -> None:
    """Hand the pictures to ffmpeg; without a file if it has no encoder for H.264."""
    width, height = pictures[0].size
    command = [
        ffmpeg, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
        "-r", str(PER_SECOND), "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-f", "mp4",
    ]  # fmt: skip
    partial = path.with_suffix(".mp4.partial")
    done = subprocess.run([*command, partial], input=b"".join(p.tobytes() for p in pictures), capture_output=True)
    if done.returncode == 0:
        partial.replace(path)
    else:
        partial.unlink(missing_ok=True)
