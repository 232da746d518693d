"""`make bench` and `make bench-gpu` (benchmarks/bench/): turns, ratios, the report, and a run of everything."""

import importlib
import itertools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from bench import evaluation, gpu, gpu_steps, machine, quality, report, rows, start
from bench.__main__ import PARTS, main
from bench.gpu_extras import Extra
from bench.rounds import SKIPPED, Side, SideError, Spread, Turn, interleave, ratios
from support.runs import ROOT

# A loop that writes down when its steps begin and end.
SLEEPER = """
import sys, time
from bench.gate import Gate
gate = Gate()
while True:
    gate()
    start = time.monotonic()
    time.sleep(float(sys.argv[1]))
    with open(sys.argv[2], "a") as file:
        print(start, time.monotonic(), file=file)
"""


def sleeper(name: str, seconds: float, log: Path) -> Side:
    return Side(name, [sys.executable, "-c", SLEEPER, str(seconds), str(log)], threads=1)


def steps_of(log: Path) -> list[tuple[float, float]]:
    return [tuple(map(float, line.split())) for line in log.read_text().splitlines()]


def test_sides_take_turns_and_their_ratio_is_that_of_their_steps(tmp_path: Path) -> None:
    sides = [sleeper("short", 0.02, tmp_path / "a"), sleeper("long", 0.06, tmp_path / "b")]
    turns, failed = interleave(sides, tmp_path / "sides", rounds=6, seconds=0.06)
    assert not failed
    assert [len(turns[name]) for name in ("short", "long")] == [6, 6]
    assert ratios(turns["short"], turns["long"]).median == pytest.approx(3, rel=0.3)
    # Sleeping takes no processor time, so that this clock tells them from sides that compute.
    assert max(turn.processor for turn in turns["long"]) < 0.02
    both = sorted(
        [(*step, "a") for step in steps_of(tmp_path / "a")] + [(*step, "b") for step in steps_of(tmp_path / "b")]
    )
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(both))
    names = "".join(step[2] for step in both)[8:]  # each begins with four steps
    rounds = [names[i : i + len(names) // 6] for i in range(0, len(names), len(names) // 6)]
    one_after_the_other = {"".join(sorted(rounds[0])), "".join(sorted(rounds[0], reverse=True))}
    assert set(rounds) == one_after_the_other, "each has a turn in every round, in either order"
    assert all(side.process.poll() is not None for side in sides), "a process is left"


def test_a_side_that_fails_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    broken = Side("broken", [sys.executable, "-c", "raise SystemExit('no such thing')"], threads=1)
    midway = SLEEPER.replace(
        "time.sleep", "count = globals().get('count', 0) + 1; count < 5 or sys.exit('had enough'); time.sleep"
    )
    tired = Side("tired", [sys.executable, "-c", midway, "0.01", str(tmp_path / "c")], threads=1)
    turns, failed = interleave([broken, sleeper("sound", 0.01, tmp_path / "a"), tired], tmp_path, 2, 0.03)
    assert len(turns["sound"]) == 2
    assert failed == {
        "broken": "broken: no such thing (exit code 1)",
        "tired": "tired: had enough (exit code 1)",
    }


def test_the_first_steps_of_a_turn_do_not_count(tmp_path: Path) -> None:
    side = sleeper("one", 0.01, tmp_path / "a")
    interleave([side], tmp_path, rounds=1, seconds=0.03)
    first = 4  # two pairs of steps before the turns
    assert len(steps_of(tmp_path / "a")) in (first + SKIPPED + 2, first + SKIPPED + 3)


def test_a_spread_is_median_and_quartiles() -> None:
    assert Spread.of([5.0]) == Spread(5, 5, 5)
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3, 2, 4)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that becomes ten times slower changes no ratio."""
    ours, theirs = [Turn(1, 1), Turn(10, 5)], [Turn(2, 3), Turn(20, 15)]
    assert ratios(ours, theirs) == Spread(2, 2, 2)
    assert ratios(ours, theirs, "processor") == Spread(3, 3, 3)


def test_peers_that_are_not_installed_are_rows_that_say_so(tmp_path: Path) -> None:
    bench = rows.Bench(tmp_path, tmp_path, threads=1, rounds=1, seconds=0.02)
    sides = [sleeper("Inkwash", 0.01, tmp_path / "a"), Side("denoising-diffusion-pytorch, and so on", [], 1)]
    if find_spec("denoising_diffusion_pytorch"):
        pytest.skip("it is installed here")
    [ours, theirs] = rows.compare(bench, "training", "sleep", sides)
    assert ours.value is not None
    assert ours.ratio == Spread(1, 1, 1)
    assert (theirs.value, theirs.note) == (None, "not installed: denoising_diffusion_pytorch")
    assert theirs.at_least(2).reached is None


def facts(**more: object) -> dict:
    some = {"title": "T", "command": "make bench", "threads": 2, "rounds": 7, "busy": False, "load": [0.1, 2.0]}
    return {**machine.facts(), **some, "quick": False, **more}


def test_the_report_says_what_was_wanted_and_whether_it_was_reached(tmp_path: Path) -> None:
    value, ratio = Spread(10, 9, 11), Spread(1.2, 1.1, 1.3)
    some = [
        rows.Row("training", "digits", "Inkwash", value, ratio=Spread(1, 1, 1), peak=700.4),
        rows.Row("training", "digits", "diffusers", value, ratio=ratio).at_least(1.15),
        rows.Row("training", "digits", "lucidrains", value, ratio=ratio).at_least(2.5),
        rows.Row("data", "noise", "torchvision", note="not installed: torchvision").at_least(15),
        rows.Row("quality", "20 s", "Inkwash", Spread(0.3, 0.3, 0.3), "distance"),
    ]
    report.write(tmp_path, "results", facts(), some)
    text = (tmp_path / "results.md").read_text()
    assert "| training, digits: diffusers | at least 1.15x | 1.2 (1.1 to 1.3)x | yes |" in text
    assert "| training, digits: lucidrains | at least 2.5x | 1.2 (1.1 to 1.3)x | **no** |" in text
    assert "| data, noise: torchvision | at least 15x | not installed: torchvision | not measured |" in text
    assert "Load 0.10 before and 2.00 after: the machine was quiet." in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert all((tmp_path / f"results-{plot}.png").stat().st_size > 1000 for plot in ("ratios", "quality"))
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["rows"][1]["ratio"] == {"median": 1.2, "low": 1.1, "high": 1.3}
    assert "What was wanted" not in report.markdown(facts(quick=True), some)


@pytest.mark.slow
def test_our_networks_and_diffusers_have_the_same_weights() -> None:
    with torch.device("meta"):
        ours = gpu_steps.our_net(gpu_steps.LARGE)
        theirs = gpu_steps.diffusers_net(gpu_steps.LARGE, torch.device("meta"))
    counts = [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)]
    assert counts == [35_746_307, 35_746_307]


def test_operations_of_an_image_are_those_of_its_layers() -> None:
    tiny = gpu_steps.flops_of_an_image(gpu_steps.TINY, torch.device("cpu"))
    twice = gpu_steps.flops_of_an_image({**gpu_steps.TINY, "shape": [3, 16, 16]}, torch.device("cpu"))
    assert twice == pytest.approx(4 * tiny, rel=0.2)  # convolutions grow with the pixels, embeddings do not


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_every_row_says_so(tmp_path: Path) -> None:
    gpu.main(["--out", str(tmp_path)])
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert len(stored["rows"]) > 30
    assert {row["note"] for row in stored["rows"]} == {"not measured"}
    assert not any(row["value"] or row["reached"] for row in stored["rows"])


def test_a_part_for_gpus_leaves_tf32_as_it_was() -> None:
    def fill(session: object, empty: list[rows.Row]) -> None:
        torch.set_float32_matmul_precision("high")

    before = torch.get_float32_matmul_precision()
    assert Extra("product", list, fill).measure(None) == []
    assert torch.get_float32_matmul_precision() == before


def test_a_part_that_fails_is_a_row_and_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(bench: object) -> list[rows.Row]:
        raise AssertionError("a mistake was not noticed")

    monkeypatch.setattr(start, "measure", fail)
    monkeypatch.setattr(evaluation, "measure", lambda bench: [rows.Row("evaluation", "a", "Inkwash", note="here")])
    main(["--quick", "--only", "start", "evaluation", "--out", str(tmp_path)])
    stored = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [(row["part"], row["note"]) for row in stored] == [
        ("start", "AssertionError: a mistake was not noticed"), ("evaluation", "here"),
    ]  # fmt: skip


def python(*words: str) -> None:
    path = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-m", *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_some_parts_do_not_replace_the_report_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in PARTS:
        value = rows.Row(part, "20 s", "Inkwash", Spread.of([3.0]), "s")
        monkeypatch.setattr(importlib.import_module(f"bench.{part}"), "measure", lambda bench, value=value: [value])
    main(["--only", "start", "data", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"results-start-data.json", "results-start-data.md"}
    main(["--out", str(tmp_path)])
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == len(PARTS)


def test_a_command_of_the_quality_part_comes_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "LONGEST", 0.2)
    with pytest.raises(SideError, match="sleeper: not done after 0 s"):
        quality._run(Side("sleeper", (), 1), [sys.executable, "-c", "import time; time.sleep(30)"], tmp_path)


# What may be missing on a machine: peers.
def problems(table: Path) -> list[str]:
    stored = json.loads(table.read_text())["rows"]
    return [f"{row['part']} {row['case']} {row['side']}: {row['note']}" for row in stored if row["value"] is None
            and not row["note"].startswith("not installed")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_everything_runs_at_its_smallest_size(tmp_path: Path) -> None:
    python("bench", "--quick", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"))
    stored = json.loads((tmp_path / "out/results.json").read_text())
    assert {row["part"] for row in stored["rows"]} >= {"training", "sampling", "data", "start", "evaluation", "quality"}
    assert problems(tmp_path / "out/results.json") == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_part_for_gpus_runs_on_a_cpu_at_its_smallest_size(tmp_path: Path) -> None:
    python("bench.gpu", "--device", "cpu", "--tiny", "--out", str(tmp_path))
    # Its float32 batch has another size, so that nothing can be said of defaults.
    assert problems(tmp_path / "gpu.json") == [
        "best of all default (bf16) against default (float32), batch 256 diffusers: not measured"
    ] or not find_spec("accelerate")
