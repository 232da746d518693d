"""python benchmarks/robustness.py [overrides]: measure the cost of a checkpoint and the time of a resume.

Runs the real command, with the overrides given (by default `trainer=cpu trainer.threads=1`), in a temporary folder:

1. 200 steps with a checkpoint every 40: seconds of a step, of a checkpoint, and the share of the training time that
   checkpoints take at the default cadence;
2. the same command with one step more, three times: seconds from the command to that step.

Everything else that runs on the machine counts too: the load is printed beside the figures.
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
STEPS, EVERY = 200, 40
# Slow callbacks, which have cadences of their own.
SLOW = ("evaluation", "samples", "heldout", "loss_by_noise")
ALWAYS = ("run=run", "logger=csv", *(f"~callbacks.{name}" for name in SLOW))


def command(folder: Path, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "inkwash", "train", *ALWAYS, *overrides],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def steps_logged(folder: Path) -> dict[int, float]:
    """Return the images per second at each step of metrics.csv."""
    path = folder / "runs/run/metrics.csv"
    if not path.exists():
        return {}
    with open(path, newline="") as file:
        return {int(row["step"]): float(row["train/images_per_second"] or "nan") for row in csv.DictReader(file)}


def train(folder: Path, overrides: list[str]) -> tuple[float, float, int]:
    """Return seconds per step, seconds per checkpoint (flushed to the disk), and its bytes."""
    job = command(folder, *overrides, f"trainer.max_steps={STEPS}", f"callbacks.checkpoint.every_n_steps={EVERY}")
    assert job.wait() == 0
    config = yaml.safe_load((folder / "runs/run/config.yaml").read_text())
    speeds = [speed for speed in steps_logged(folder).values() if speed == speed]
    step = config["data"]["batch_size"] / statistics.median(speeds)
    # Each in a process of its own would measure the start of the process.
    code = (
        "import sys, time, torch; from pathlib import Path\n"
        "from inkwash.checkpoints.io import AtomicCheckpointIO, read_checkpoint\n"
        "content = read_checkpoint(Path(sys.argv[1]))\n"
        "for _ in range(5):\n"
        "    start = time.perf_counter(); AtomicCheckpointIO().save_checkpoint(content, sys.argv[1] + '.copy')\n"
        "    print(time.perf_counter() - start)\n"
    )
    path = folder / "runs/run/checkpoints/last.ckpt"
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    return step, statistics.median(map(float, said.split())), path.stat().st_size


def resume(folder: Path, overrides: list[str], step: int) -> float:
    """Return the seconds from the command to the first new step."""
    start = time.perf_counter()
    job = command(folder, *overrides, f"trainer.max_steps={step}", "callbacks.log.every_n_steps=1")
    while step not in steps_logged(folder):
        assert job.poll() in (None, 0), "the resume failed"
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    assert job.wait() == 0
    return seconds


def main() -> None:
    overrides = sys.argv[1:] or ["trainer=cpu", "trainer.threads=1"]
    every = yaml.safe_load((ROOT / "conf/callbacks/default.yaml").read_text())["checkpoint"]["every_n_steps"]
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        step, seconds, size = train(folder, overrides)
        print(f"a step {1e3 * step:.1f} ms; a checkpoint {1e3 * seconds:.1f} ms, {size / 1e6:.1f} MB")
        print(f"checkpoints every {every} steps take {100 * seconds / (every * step):.3f} % of the training time")
        times = [resume(folder, overrides, STEPS + i) for i in (1, 2, 3)]
        print(f"from the command to the first new step: {', '.join(f'{t:.1f}' for t in times)} s")
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
