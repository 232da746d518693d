"""python benchmarks/stream.py FILE.parquet --shape 1 28 28: time shards read as needed against images in memory.

What is timed runs in turns, one source after another, and ratios are of the medians. The shards are made of FILE, in a
temporary folder; a larger set is the same shards under further names.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch

from inkwash.data.module import ImageDataModule
from inkwash.data.parquet import Parquet
from inkwash.data.parquet_stream import ParquetStream
from inkwash.data.webdataset import WebDataset
from inkwash.nets.unet import UNet

ROWS, GROUP = 5000, 500  # images of a shard, and of a row group
SOURCES = {"in memory": Parquet, "Parquet": ParquetStream, "tar": WebDataset}


def write_shards(file: Path, folder: Path) -> None:
    """Write the same images as Parquet files and as tar files."""
    table = pq.read_table(file)
    column = next(name for name in table.column_names if name != "label")
    for number, start in enumerate(range(0, len(table), ROWS)):
        part = table.slice(start, ROWS)
        pq.write_table(part, folder / f"{number:03d}.parquet", row_group_size=GROUP)
        with tarfile.open(folder / f"{number:03d}.tar", "w") as tar:
            for i, (image, label) in enumerate(zip(part[column].to_pylist(), part["label"].to_pylist(), strict=True)):
                for extension, content in (("png", image["bytes"]), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{i:06d}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def loader(source: Any, folder: Path, shape: list[int], batch_size: int, readers: int) -> Iterator[Any]:
    """Return the batches that one process trains on."""
    data: Any = ImageDataModule(source, shape, None, batch_size, str(folder), num_workers=readers)
    data.trainer = SimpleNamespace(
        world_size=1, global_rank=0, global_step=0, accumulate_grad_batches=1, overfit_batches=0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    return iter(data.train_dataloader())


class Times(NamedTuple):
    """Median seconds of a whole step, and of waiting for its batch."""

    batch: float
    wait: float


def in_turns(
    loaders: dict[str, Iterator[Any]], batches: int, repeat: int, step: Callable[[Any], None] = lambda images: None
) -> dict[str, Times]:
    """Time batches of each loader in turns; the first turn, which starts readers, does not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for turn in range(repeat + 1):
        for name, loader in loaders.items():
            for _ in range(batches):
                start = time.perf_counter()
                images = next(loader)[0]
                waited = time.perf_counter() - start
                step(images)
                if turn:
                    taken[name].append((time.perf_counter() - start, waited))
    return {name: Times(*map(statistics.median, zip(*times, strict=True))) for name, times in taken.items()}


def compare(folder: Path, shape: list[int], cache: str, options: argparse.Namespace) -> None:
    B = options.batch_size

    def loaders(readers: int) -> dict[str, Iterator[Any]]:
        return {
            name: loader(kind(cache_dir=cache), folder, shape, B, readers if name != "in memory" else 0)
            for name, kind in SOURCES.items()
        }

    for readers in (0, 1, 2):
        times = in_turns(loaders(readers), options.batches, options.repeat)
        for name, found in list(times.items())[readers > 0 :]:
            ratio = times["in memory"].batch / found.batch
            print(f"alone     {name:<10} {readers} readers {B / found.batch:9.0f} images/s   {ratio:7.3f} x in memory")
    net = UNet((shape[0], shape[1], shape[2]), options.channels, [1, 2], 1, [], patch_size=2)
    optimizer = torch.optim.AdamW(net.parameters())

    def step(images: torch.Tensor) -> None:
        x = images.float() / 127.5 - 1
        net(x, torch.zeros(len(x))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    # While a GPU trains, its process waits, and the readers have the cores for themselves.
    for trained, work in (("on CPU", step), ("on GPU", lambda images: time.sleep(options.step_ms / 1000))):
        for readers in (0, 1, 2):
            times = in_turns(loaders(readers), max(5, options.batches // 10), options.repeat, work)
            for name, found in list(times.items())[readers > 0 :]:
                print(
                    f"{trained:<9} {name:<10} {readers} readers {B / found.batch:9.0f} images/s   "
                    f"{times['in memory'].batch / found.batch:7.3f} x in memory, waiting {1000 * found.wait:.1f} of "
                    f"{1000 * found.batch:.1f} ms"
                )


def grow(folder: Path, shape: list[int], cache: str, images: int) -> None:
    """Measure the memory of a separate process for sets of 1, 4 and 16 times the images."""
    for times in (1, 4, 16):
        for copy in range(1, times):
            for file in folder.glob("???.*"):
                if not (linked := file.with_stem(f"{file.stem}-{copy}")).exists():
                    linked.hardlink_to(file)
        for name, kind in list(SOURCES.items())[1:]:
            kind(window=2048, cache_dir=cache).load("train", (shape[0], shape[1], shape[2]), str(folder))  # the index
            size = sum(file.stat().st_size for file in folder.glob(kind.pattern)) / 1e6
            arguments = [str(folder), kind.__name__, ",".join(map(str, shape)), cache, str(images)]
            out = subprocess.run([sys.executable, __file__, "--child", *arguments], capture_output=True, text=True)
            print(f"memory    {name:<10} {size:9.1f} MB in files   {out.stdout.strip() or out.stderr}")


def child(folder: str, kind: str, shape: str, cache: str, images: str) -> None:
    """Read images in the order of an epoch, and print by how much the process grew."""
    source = next(source for source in SOURCES.values() if source.__name__ == kind)(window=2048, cache_dir=cache)
    before = memory()
    C, H, W = map(int, shape.split(","))
    stream = source.load("train", (C, H, W), folder)
    order, most = stream.order(0, 0), memory()
    for _ in range(0, int(images), 128):
        stream.__getitems__(list(islice(order, 128)))
        most = {name: max(value, memory()[name]) for name, value in most.items()}
    grown = {name: most[name] - before[name] for name in before}
    print(
        f"{len(stream):9,} images, {stream.memory / 1e6:5.1f} MB at hand   +{grown['RssAnon']:5.1f} MB of its own   "
        f"+{grown['RssFile']:5.1f} MB of mapped files"
    )


def memory() -> dict[str, float]:
    """Return the MB of this process: its own, and pages of files (the index, code), which Linux may drop."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("RssAnon", "RssFile")))
    return {name[:-1]: int(value) / 1024 for name, value, _ in fields}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return child(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--channels", type=int, default=16, help="of the network that is trained on the CPU")
    parser.add_argument("--step-ms", type=float, default=50, help="of a step on a GPU, which is only waited for")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.file.name}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary, "shards"), str(Path(temporary, "cache"))
        folder.mkdir()
        write_shards(options.file, folder)
        compare(folder, options.shape, cache, options)
        grow(folder, options.shape, cache, 20000)
    return None


if __name__ == "__main__":
    main()
