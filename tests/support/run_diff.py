"""Compare two run directories bit by bit."""

import csv
import hashlib
import json

import torch

from support.counts import count

# Columns that depend on the clock.
TIMINGS = (
    "train/images_per_second", "train/images_per_second_per_rank", "train/communication", "metrics/seconds", "seconds",
)  # fmt: skip


def checkpoint(directory, name="last.ckpt"):
    content = torch.load(directory / "checkpoints" / name, weights_only=True)
    content["config"]["callbacks"].pop("bomb", None)  # it ended the run before this resume
    return content


def rows(directory):
    with open(directory / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMINGS} for row in csv.DictReader(file)]


def records(directory):
    path = directory / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def differences(a, b, at="checkpoint"):
    """List where two nested structures differ, bit by bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        return [] if same else [at]
    if isinstance(a, dict) and isinstance(b, dict):
        keys = {*a, *b}
        return [d for k in keys for d in (differences(a[k], b[k], f"{at}.{k}") if k in a and k in b else [f"{at}.{k}"])]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{at}[{i}]")]
    return [] if type(a) is type(b) and a == b else [f"{at}: {a!r} != {b!r}"]


def tensors(content):
    if isinstance(content, dict | list | tuple):
        return sum(map(tensors, content.values() if isinstance(content, dict) else content))
    return int(isinstance(content, torch.Tensor))


def assert_same_run(one, other, pattern="samples/*.png"):
    """Assert that weights, averages, optimizer, counters, rows, records and images are the same bits."""
    for name in ("last.ckpt", "best.ckpt"):
        states = [checkpoint(directory, name) for directory in (one, other)]
        assert differences(*states) == []
        count("tensors of checkpoints compared bit by bit with those of an undisturbed run", tensors(states[0]))
    assert rows(one) == rows(other)
    assert records(one) == records(other)
    for kind in (pattern, "witness-*.pt"):
        files = [
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob(kind)}
            for directory in (one, other)
        ]
        assert files[0].keys() == files[1].keys()
        assert [name for name in files[0] if files[0][name] != files[1][name]] == []
    count("resumed runs with nothing that differs")
