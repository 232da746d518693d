"""The card of a folder of sampled images, for the Hugging Face hub: README.md and the images' labels. Without torch."""

import json
from pathlib import Path
from typing import Any

import yaml

from inkwash.files import read_json, write_text
from inkwash.runs.directory import RunDirectory

LABELS = "metadata.jsonl"
# What is sent of the folder that `inkwash sample` has written (jobs/sample_results.py). The rest stays: settings name
# paths of this machine, W&B's record of the job has more of it, and the folder may hold files of the user's.
SENT = (
    "README.md", LABELS, "grid.png", "trajectory.png", "trajectory.gif", "trajectory.mp4", "images/*.png", "images.npy",
    "report.json",
)  # fmt: skip
SIZES = {1000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
CARD = """---
{head}---

# Images drawn by {run}

{count:,} images of shape {shape} that a diffusion model drew: the run {run} of Inkwash, {weights} weights of
{checkpoint}, sampler {sampler} with {steps} steps, guidance {guidance}, seed {seed}. They are not photographs, and may
repeat images of the training data.

![The first of them](grid.png)

```python
from datasets import load_dataset

images = load_dataset("{repo}", split="train")
```
"""


def write_dataset_card(out: Path, settings: dict[str, Any], run: RunDirectory, repo: str) -> None:
    """Write OUT/README.md, and OUT/metadata.jsonl if the images are of classes.

    Args:
        settings: the configuration of `inkwash sample`, resolved.
    """
    config, drawn = run.config, read_json(out / "summary.json")
    count = int(drawn["images"])
    labelled = _write_labels(out, settings, config["model"].get("num_classes"), run.classes)
    size = next((name for most, name in SIZES.items() if count < most), "n>1M")
    files = ["images/**", LABELS] if labelled else ["images/**"]
    head = {
        "tags": ["inkwash", "synthetic", "diffusion"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    }
    text = CARD.format(
        head=yaml.safe_dump(head, sort_keys=False), run=run.path.resolve().name, count=count,
        shape=config["data"]["shape"], weights=settings["weights"], checkpoint=settings["checkpoint"],
        sampler=settings["sampler"]["_target_"].rpartition(".")[2], steps=drawn["steps"],
        guidance=f"{drawn['guidance']:g}", seed=settings["seed"], repo=repo,
    )  # fmt: skip
    write_text(out / "README.md", text)


def _write_labels(out: Path, settings: dict[str, Any], num_classes: int | None, names: list[str]) -> bool:
    """Write a line for each image with its class, i mod num_classes or settings["label"]; returns whether it did."""
    (out / LABELS).unlink(missing_ok=True)
    if num_classes is None or not settings["task"]["_target_"].endswith(".Generate"):
        return False
    lines = []
    for i, path in enumerate(sorted((out / "images").rglob("*.png"))):
        label = i % num_classes if settings["label"] is None else settings["label"]
        row = {"file_name": path.relative_to(out).as_posix(), "label": label}
        lines.append(json.dumps(row | ({"class": names[label]} if names else {})))
    write_text(out / LABELS, "\n".join(lines) + "\n")
    return True
