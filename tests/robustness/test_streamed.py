"""Trainings on shards: a resume in the middle of an epoch is exact, and every number of processes sees the same."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from inkwash.jobs.train import train
from support.run_diff import assert_same_run, checkpoint

WITNESS = "+callbacks.witness._target_=support.parts.Witness"
STEPS = ("trainer.max_steps=7", "callbacks.checkpoint.every_n_steps=3", "callbacks.log.every_n_steps=2", WITNESS)
BOMB = "+callbacks.bomb={_target_: support.parts.Bomb, rank: 0, step: 5}"
TWO = ("trainer=ddp_cpu", "trainer.devices=2")
SIZES = (31, 1, 28)  # fewer files than readers; 54 images to train on, 3.4 steps an epoch


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def options(tmp_path):
    """options(kind): a data set in three files, and how to train on it."""

    def made(kind):
        folder = tmp_path / "shards"
        folder.mkdir()
        images = [png(pixels) for pixels in np.random.default_rng(0).integers(0, 256, (sum(SIZES), 8, 8), np.uint8)]
        for number, end in enumerate(np.cumsum(SIZES).tolist()):
            part = range(end - SIZES[number], end)
            if kind == "parquet_stream":
                table = {"image": [{"bytes": images[i], "path": None} for i in part], "label": [i % 10 for i in part]}
                pq.write_table(pa.table(table), folder / f"{number}.parquet", row_group_size=5)
                continue
            with tarfile.open(folder / f"{number}.tar", "w") as tar:
                for i in part:
                    for extension, content in (("png", images[i]), ("cls", b"%d" % (i % 10))):
                        member = tarfile.TarInfo(f"{i:06d}.{extension}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
        return (
            f"data={kind}", f"data.path={folder}", "data.shape=[1,8,8]", "data.num_classes=10", "data.batch_size=16",
            "data.source.window=20", *STEPS,
        )  # fmt: skip

    return made


def seen(directory, processes, step):
    """The global batch of a step."""
    parts = [torch.load(directory / f"witness-{rank}-{step}.pt") for rank in range(processes)]
    return [torch.cat([part[key] for part in parts]) for key in ("images", "labels", "t")]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("parquet_stream", ("data.num_workers=1",)),
        pytest.param("webdataset", ("data.num_workers=0", "data.flip=true"), marks=pytest.mark.slow),
        pytest.param("webdataset", ("trainer.accumulate_grad_batches=2",), marks=pytest.mark.slow),
    ],
)
def test_a_resume_in_the_middle_of_an_epoch_is_exact(new_run, options, kind, more):
    options = (*options(kind), *more)
    whole = new_run("whole", *options)
    train(whole)
    died = new_run("parts", *options, BOMB)
    with pytest.raises(RuntimeError, match="the bomb went off"):
        train(died)
    assert checkpoint(died)["global_step"] == 3
    parts = new_run("parts", *options)
    train(parts)
    assert_same_run(whole, parts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet_stream", "webdataset"])
def test_two_processes_resume_exactly_and_see_what_one_sees(new_run, jobs, options, kind):
    options = options(kind)
    one = new_run("one", *options)
    train(one)
    two = new_run("two", *options, *TWO)
    assert jobs.run(two, 2) == 0, (two / "output.txt").read_text()
    for step in range(1, 8):
        assert all(torch.equal(a, b) for a, b in zip(seen(one, 1, step), seen(two, 2, step), strict=True))
    first_epoch = torch.cat([seen(two, 2, step)[0] for step in range(1, 5)])[:54]
    assert len(torch.unique(first_epoch.flatten(1), dim=0)) == 54
    assert jobs.run(new_run("parts", *options, *TWO, BOMB), 2) != 0
    parts = new_run("parts", *options, *TWO)
    assert jobs.run(parts, 2) == 0
    assert_same_run(two, parts)
