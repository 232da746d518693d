"""A run directory as a training leaves it, without the training."""

import json
from pathlib import Path

import pytest
import torch

from inkwash.data.images import Images
from inkwash.reports.drawings import draw_classes, draw_forward, draw_nearest, frame_of, save_way
from inkwash.reports.headings import headed
from inkwash.reports.image_grid import grid, save_png
from inkwash.runs.directory import RunDirectory
from support.runs import write_run
from support.schedules import PATHS

METRIC = "fd_classifier_64"
RECORD = {
    "name": METRIC, "n_real": 450, "n_fake": 64, "extractor": "classifier", "extractor_hash": "ff", "weights": "ema",
    "sampler": "Ancestral", "steps": 10, "guidance": 1.0, "notes": ["64 are few"], "lower_is_better": True,
}  # fmt: skip
DATA = {
    "source": "Digits", "classes": list("0123456789"), "named": False, "suspicious": ["all images look alike"],
    "train": {
        "images": 1347, "origin": "here", "counts": list(range(130, 140)), "unlabelled": 0, "levels": [0, 255],
        "passed_over": {"no image": {"count": 3, "first": ["a.txt", "b.txt"]}},
    },
    "heldout": {
        "images": 450, "origin": "here", "counts": [45] * 10, "unlabelled": 0, "levels": [0, 255], "passed_over": {},
    },
}  # fmt: skip
STEPS = (10, 20, 30)


def images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def values(step: int, offset: float) -> dict[str, float]:
    loss = offset + 1 / step
    return {
        "train/loss": loss, "train/learning_rate": 1e-3, "train/images_per_second": 900.0, "heldout/loss": loss * 1.1,
        f"metrics/{METRIC}": 100 * loss, "loss_by_log_snr/-2_to_0": loss, "loss_by_log_snr/0_to_2": 2 * loss,
    }  # fmt: skip


def fill(directory: Path, *overrides: str, offset: float = 0.5) -> Path:
    """Write what a training of 30 steps leaves, checkpoints and report.html left out."""
    run = RunDirectory(write_run(directory, "logger=csv", "trainer.max_steps=30", *overrides))
    choices = {"data": "digits", "model": "unet_small", "schedule": "cosine", "prediction": "v"}
    run.write_record({**run.record, "choices": choices, "data": DATA})
    rows = [{"step": 0, f"metrics/{METRIC}_of_train_images": 3.5}, *({"step": s, **values(s, offset)} for s in STEPS)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns), *(",".join(str(row.get(name, "")) for name in columns) for row in rows)]
    run.metrics_csv.write_text("\n".join(lines) + "\n")
    measured = [{**RECORD, "step": s, "value": values(s, offset)[f"metrics/{METRIC}"]} for s in STEPS]
    run.metrics_jsonl.write_text("".join(json.dumps(record) + "\n" for record in measured))
    for step in STEPS:
        save_png(headed(grid(images(20, step), 10), 10, DATA["classes"]), run.samples / f"step-{step:08d}.png")
    run.summary_path.write_text(json.dumps(
        {"steps": 30, "loss": 0.5, "seconds": 60.0, "seconds_outside_training": 10.0, "seconds_measuring": 6.0,
         "images_per_second": 900.0, "parameters": 41961, "metrics": {METRIC: measured[-1]}}
    ))  # fmt: skip
    run.write_status("finished")
    draw(run)
    return directory


def draw(run: RunDirectory) -> None:
    folder, schedule = run.report_folder, PATHS["cosine"]
    folder.mkdir()
    draw_forward(folder / "forward.png", PATHS["cosine-10"], images(8))
    labels = torch.arange(40) % 10
    draw_classes(folder / "real.png", Images(images(40), labels), 10)
    draw_nearest(folder / "nearest.png", images(4, 1), Images(images(40), labels), False, 30)
    times = [1000.0, 500.0, 0.0]
    save_way(folder / "reverse.png", schedule, times, [images(6, k) for k in range(3)], [images(6, 9)] * 3, 30)
    assert frame_of(schedule, 500.0)["t"] == 500


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """A finished run; tests that change it copy it."""
    return fill(tmp_path_factory.mktemp("runs") / "mine")
