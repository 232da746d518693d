"""python benchmarks/plan.py: how near the speed that `inkwash plan` foretells is to that of the training.

Both commands are run in turns, so that another process on the machine disturbs both: the plan measures a few steps on
noise, the training takes real ones, without grids, metrics and checkpoints. Printed are the medians over rounds, and of
the ratio in each round.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TRAININGS = (
    "model=unet_small",
    "model=unet_small data.batch_size=32",
    "model=dit_digits optimizer=muon",
    "model=ddpmpp_small data.batch_size=32",
    "model=edm2_small data.batch_size=32",
)
ALONE = ("logger=csv", "~callbacks.samples", "~callbacks.evaluation", "~callbacks.heldout", "~callbacks.checkpoint")


def inkwash(*words: str, cwd: Path) -> str:
    """Run a command; returns what it printed, or ends with it if it failed."""
    done = subprocess.run([sys.executable, "-m", "inkwash", *words], capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def planned(words: list[str], folder: Path) -> float:
    """Return the images/s that the plan foretells."""
    found = re.search(r"^speed here .*, ([\d,]+) images/s$", inkwash("plan", *words, cwd=folder), re.MULTILINE)
    assert found, "inkwash plan says no speed"
    return float(found[1].replace(",", ""))


def trained(words: list[str], folder: Path, steps: int) -> float:
    """Return the images/s of a training."""
    inkwash("train", "run=run", f"trainer.max_steps={steps}", *ALONE, *words, cwd=folder)
    return json.loads((folder / "runs" / "run" / "summary.json").read_text())["images_per_second"]


def main() -> None:
    """Print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("words", nargs="*", help="overrides of both commands: trainer.threads=1")
    options = parser.parse_args()
    print("| training | planned, images/s | trained, images/s | ratio |\n|---|---|---|---|")
    for training in TRAININGS:
        words, pairs = [*training.split(), *options.words], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                pairs.append((planned(words, Path(folder)), trained(words, Path(folder), options.steps)))
        plan, run = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(a / b for a, b in pairs)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| `{training}` | {plan:,.0f} | {run:,.0f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
