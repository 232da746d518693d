"""Every command and every block of Python in README and docs is run, in small: few steps, made-up images.

Overrides that make a command small are put behind what is printed; nothing that is printed is left out, but the length
of a training.
"""

import contextlib
import io
import os
import re
import shutil
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from support.commands import inkwash
from support.in_process import Commands
from support.pages import PAGES, ROOT, Block, Shell, blocks, exported, of_inkwash, write_files

RUN = [page for page in PAGES if any(block.commands or block.kind == "python" for block in blocks(page))]
# What is only composed (test_docs.py), by a part of the command, and why.
NOT_RUN = {
    "experiment=cifar10": "downloads CIFAR-10",
    "data=cifar10": "downloads CIFAR-10 and Inception's weights",
    "experiment=edm_cifar10": "downloads CIFAR-10",
    "experiment=iddpm_cifar10": "downloads CIFAR-10",
    "experiment=edm2_cifar10": "downloads CIFAR-10",
    "experiment=ect_cifar10": "downloads CIFAR-10",
    "experiment=meanflow_cifar10": "downloads CIFAR-10",
    "experiment=edm2_in64": "needs ImageNet",
    "experiment=mnist": "downloads MNIST",
    "experiment=ect_mnist": "downloads MNIST",
    "experiment=meanflow_mnist": "downloads MNIST",
    "data=mnist": "downloads MNIST",
    "data=fashion_mnist": "downloads Fashion-MNIST",
    "data.path=uoft-cs/cifar10": "downloads CIFAR-10",
    "model=jit_b16": "has 131 million parameters",
    "launcher=gpus": "needs GPUs",
    "launcher=slurm": "needs SLURM: tests/cluster",
    "trainer=multi_node": "needs two machines: tests/cluster",
    "pipeline=PIPELINE": "needs a folder of diffusers: tests/jobs/test_image_sources.py",
    "--cfg": "prints a configuration, which composing shows",
    "--help": "tests/config/test_help.py",
}
# Processes of their own, where one process cannot stand in for them.
REALLY = ("sweep", "trainer=ddp_cpu")
TRAIN = {
    "debug": "fast", "logger": "csv", "trainer.accelerator": "cpu", "trainer.precision": "32-true",
    "trainer.memory_format": "contiguous", "trainer.threads": "1", "data.batch_size": "8", "extractor": "pyramid",
}  # fmt: skip
SMALL = {
    "train": TRAIN,
    "sweep": {**TRAIN, "model.channels": "8"},
    "sample": {"trainer.accelerator": "cpu"},
    "evaluate": {"trainer.accelerator": "cpu"},
}
# These are put behind even if the command has them.
ALWAYS = {
    "train": {"spacing.steps": "2"},
    "sweep": {"spacing.steps": "2", "hydra.sweeper.n_trials": "2"},
    "sample": {"num_images": "4", "spacing.steps": "4"},
    "evaluate": {"num_images": "16"},
}


def small(command: str, overrides: list[str]) -> list[str]:
    """Return the overrides that make a command small."""
    typed = {override.partition("=")[0].lstrip("+~") for override in overrides}
    typed |= {key.partition(".")[0] for key in typed if key.startswith("logger.")}  # the choice is then the default
    values = {key: value for key, value in SMALL.get(command, {}).items() if key not in typed}
    always = dict(ALWAYS.get(command, {}))
    if "sweeper=optuna" not in overrides:
        always.pop("hydra.sweeper.n_trials", None)
    if command == "train" and "model" not in typed and "experiment" not in typed:
        values.setdefault("model.channels", "8")
    if "likelihood=bound" in overrides:
        always["likelihood.times"] = "2"
    if "likelihood=flow" in overrides:
        always["likelihood.spacing.steps"] = "2"
    for steps in (int(o.partition("=")[2]) for o in overrides if o.startswith("trainer.max_steps=")):
        always["trainer.max_steps"] = str(4 + steps // 1000)  # a longer one goes on from a shorter one
    return [f"{key}={value}" for key, value in {**values, **always}.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The runs that pages speak of: NAME, OTHER, FLOW, and the sweep mine."""
    place = tmp_path_factory.mktemp("template")
    run = Commands(place)
    for name, *overrides in (("OTHER", "seed=1"), ("FLOW", "schedule=flow", "prediction=flow"), ("NAME",)):
        ended = run("train", f"run={name}", *overrides, *small("train", overrides))
        assert ended.code == 0, ended.text
    swept = inkwash("train", "-m", "sweep=mine", "seed=1,2", *small("sweep", []), cwd=place)
    assert swept.returncode == 0, swept.stderr
    return place / "runs"


def pictures(shape: tuple[int, ...], n: int):
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)) for _ in range(n)]


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def make_images(place: Path) -> None:
    """Write photos of twelve classes, grey images, a Parquet file and a shard, as pages name them."""
    names = ["cat", "dog", *(f"class {i}" for i in range(10))]
    for i, image in enumerate(pictures((70, 80, 3), 48)):
        path = place / "home" / "photos" / names[i % 12] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (place / "DIR").mkdir()
    for i, image in enumerate(pictures((8, 8), 6)):
        image.save(place / "DIR" / f"{i}.png")
    column = [{"bytes": encoded(image), "path": None} for image in pictures((32, 32, 3), 60)]
    pq.write_table(pa.table({"image": column, "label": [i % 10 for i in range(60)]}), place / "train.parquet")
    flowers = place / "home" / "flowers" / "data-00000-of-00001.arrow"
    flowers.parent.mkdir()
    table = pa.table({"image": column, "label": [i % 10 for i in range(60)]})
    with pa.OSFile(str(flowers), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    shards = place / "home" / "shards"
    shards.mkdir()
    with tarfile.open(shards / "shard-0000.tar", "w") as tar:
        for i, image in enumerate(pictures((64, 64, 3), 60)):
            for suffix, content in (("jpg", encoded(image, "jpeg")), ("cls", str(i % 10).encode())):
                member = tarfile.TarInfo(f"{i:04}.{suffix}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))


@pytest.fixture
def place(tmp_path, runs, monkeypatch, data_dir):
    """A folder like a checkout in which something has been trained; its packages can be imported."""
    shutil.copytree(runs, tmp_path / "runs", symlinks=True)
    (tmp_path / "runs" / "latest").unlink(missing_ok=True)
    (tmp_path / "runs" / "latest").symlink_to("NAME")
    make_images(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INKWASH_CONF", "")
    monkeypatch.setenv("INKWASH_TRUST", "")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for module in [module for module in sys.modules if module.split(".")[0] in ("studio", "atelier")]:
        del sys.modules[module]


def run_commands(block: Block, place: Path, shell: Shell) -> None:
    """Run the commands of a block in order."""
    calls = iter(shell(*block.commands))
    for line in block.commands:
        if variables := exported(line, place):
            os.environ.update(variables)
            continue
        call = next(calls)
        command, *overrides = of_inkwash(call) or [""]
        if not command or any(part in argument for part in NOT_RUN for argument in call):
            continue
        arguments = [*overrides, *small(command, overrides)]
        if command == "sweep" or REALLY[1] in overrides:
            name, multirun = ("train", ["-m"]) if command == "sweep" else (command, [])
            result = inkwash(name, *multirun, *arguments, cwd=place)
            assert result.returncode == 0, f"{call}\n{result.stderr}"
        else:
            ended = Commands(place)(command, *arguments)
            assert ended.code == 0, f"{call}\n{ended.text}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_on_a_page_runs(page, place, monkeypatch):
    write_files(page, place)
    shell, names = Shell(place), {}
    for block in blocks(page):
        if block.kind == "python" and not block.title:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(compile(block.text, str(page), "exec"), names)
            assert "nan" not in said.getvalue()
        run_commands(block, place, shell)


def test_every_reason_not_to_run_is_of_use():
    commands = [command for page in PAGES for block in blocks(page) for command in block.commands]
    assert [part for part in NOT_RUN if not any(re.search(rf"(?<!\S)['\"]?{part}|{part}", c) for c in commands)] == []
