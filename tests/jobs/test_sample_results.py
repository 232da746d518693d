"""Files of a sampling job: written as the images come, in folders that stay usable, continued after an interruption."""

import json
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from inkwash.commands.sample import FILES
from inkwash.denoiser import Denoiser
from inkwash.editing.perform import perform
from inkwash.editing.tasks import Interpolate, Reconstruct
from inkwash.jobs import sample as job
from inkwash.jobs.sample_results import SampleResults
from inkwash.process.betas import cosine
from inkwash.process.predictions import V
from inkwash.process.schedules import BetaSchedule
from inkwash.process.spacing import Trailing
from inkwash.reports import image_grid
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.ddim import DDIM
from inkwash.training.build import build_module
from support.networks import Wave
from support.selection import mostly_slow


def config_of(compose_config, run, *overrides):
    return compose_config(f"run={run}", "spacing.steps=2", "trainer.accelerator=cpu", *overrides, config_name="sample")


@pytest.fixture(scope="module")
def run(tmp_path_factory, compose_config):
    """run(*shape): the directory of a run of random weights for images of a shape."""

    def make(*shape):
        directory = tmp_path_factory.mktemp("runs") / "run"
        options = ("data.shape=" + str([*shape]).replace(" ", ""), "model.channels=8", "data.batch_size=4")
        config = compose_config("logger=csv", "trainer=cpu", "trainer.precision=32-true", *options)
        module = build_module(config)
        for p in module.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
        (directory / "checkpoints").mkdir(parents=True)
        RunDirectory(directory).write_config({k: v for k, v in config.items() if k not in OF_THE_LAUNCH})
        torch.save({"state_dict": module.state_dict(), "global_step": 0}, directory / "checkpoints" / "last.ckpt")
        return directory

    return make


@pytest.fixture(scope="module")
def digits(run):
    return run(1, 8, 8)


@pytest.fixture
def draw(tmp_path, compose_config):
    """draw(run, name, *overrides): draw into a folder of that name, which it returns."""

    def into(of, name, *overrides):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "sample.yaml").write_text(json.dumps(config_of(compose_config, of, *overrides)))
        job.sample(tmp_path / name)
        return tmp_path / name

    return into


def pictures(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.png"))}


def interrupt(monkeypatch, after):
    """Let the sampling job be interrupted after so many batches."""
    add, calls = SampleResults.add, []

    def stopping(self, indices, rows):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(indices)
        add(self, indices, rows)

    monkeypatch.setattr(SampleResults, "add", stopping)
    return calls


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("task", ["generate", "reconstruct", "interpolate"])
def test_an_interrupted_job_goes_on(task, digits, draw, monkeypatch, capsys):
    """With the same images, grid and report; what is done is not drawn again."""
    options = (f"task={task}", "num_images=7", "batch_size=2", *(["task.frames=3"] if task == "interpolate" else []))
    whole = draw(digits, "whole", *options)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            draw(digits, "parts", *options)
    done = json.loads((whole.parent / "parts" / "unfinished" / "progress.json").read_text())["rows"]
    assert done == (2 if task == "interpolate" else 4)
    with monkeypatch.context() as patch:
        drawn = interrupt(patch, 100)
        parts = draw(digits, "parts", *options)
    assert [i for indices in drawn for i in indices] == [*range(done, 7)]
    assert f"going on: {done} of 7 rows are there" in capsys.readouterr().out
    assert pictures(parts) == pictures(whole)
    assert not (parts / "unfinished").exists()
    for name in ("summary.json", "report.json"):
        assert (parts / name).exists() == (whole / name).exists()
        assert not (whole / name).exists() or (parts / name).read_text() == (whole / name).read_text()


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize(
    "change", mostly_slow(["seed=1", "num_images=5", "spacing.steps=3", "weights"], "seed=1", "weights")
)
def test_another_job_starts_afresh(change, run, draw, monkeypatch):
    of = run(1, 8, 8)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            draw(of, "out", "num_images=6", "batch_size=2")
    if change == "weights":
        stored = torch.load(of / "checkpoints" / "last.ckpt")
        torch.save({**stored, "global_step": 1}, of / "checkpoints" / "last.ckpt")
    options = ("num_images=6", "batch_size=2", *([] if change == "weights" else [change]))
    drawn = interrupt(monkeypatch, 100)
    found = draw(of, "out", *options)
    assert drawn[0][0] == 0
    assert pictures(found) == pictures(draw(of, "fresh", *options))


def test_a_finished_job_is_drawn_anew(digits, draw):
    many = draw(digits, "out", "num_images=5", "folder_size=2")
    assert len(pictures(many)) == 6
    few = draw(digits, "out", "num_images=2", "folder_size=2")
    assert sorted(pictures(few)) == ["grid.png", "images/000000.png", "images/000001.png"]
    assert sorted(path.name for path in (few / "images").iterdir()) == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("folder_size=2",), ["00000/000000", "00000/000001", "00001/000002", "00001/000003", "00002/000004"]),
        (("folder_size=5",), [f"{i:06d}" for i in range(5)]),
        (("folder_size=null",), [f"{i:06d}" for i in range(5)]),
    ],
)
def test_many_images_are_spread_over_folders(options, names, digits, draw):
    found = draw(digits, "out", "num_images=5", *options)
    assert sorted(pictures(found / "images")) == [f"{name}.png" for name in names]


def test_a_row_of_images_is_in_one_folder(digits, draw):
    found = draw(digits, "out", "task=interpolate", "task.frames=3", "num_images=3", "folder_size=6")
    names = [f"{i // 2:05d}/{i:06d}-{k:02d}.png" for i in range(3) for k in range(3)]
    assert sorted(pictures(found / "images")) == names


def test_the_grid_shows_the_first_ones(digits, draw, monkeypatch):
    """As soon as they are there, long before the end."""
    monkeypatch.setattr(image_grid, "MOST_IMAGES", 4)
    early, add = [], SampleResults.add

    def watching(self, indices, rows):
        add(self, indices, rows)
        early.append((self.directory / "grid.png").exists())

    monkeypatch.setattr(SampleResults, "add", watching)
    found = draw(digits, "out", "num_images=9", "batch_size=2", "columns=2")
    assert early == [False, True, True, True, True]
    assert json.loads((found / "summary.json").read_text()) == {
        "images": 9, "rows": 9, "rows_in_grid": 4, "steps": 2, "guidance": 1.5,
    }  # fmt: skip
    with Image.open(found / "grid.png") as grid, Image.open(found / "images" / "000003.png") as last:
        assert grid.size == (2 * 66 + 2, 2 * 66 + 2)
        assert np.array_equal(np.asarray(grid)[68:132:8, 68:132:8, 0], np.asarray(last))


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_all_channels_are_in_the_array(channels, run, draw, monkeypatch):
    """Also when it goes on after an interruption; the images of four channels are RGBA (stable-diffusion#304)."""
    of, options = run(channels, 8, 8), ("num_images=5", "batch_size=2")
    with monkeypatch.context() as patch:
        interrupt(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            draw(of, "out", *options)
    found = draw(of, "out", *options)
    array = np.load(found / "images.npy")
    assert (array.shape, array.dtype) == ((5, channels, 8, 8), np.uint8)
    assert len(np.unique(array.reshape(5, -1), axis=0)) == 5
    with Image.open(found / "images" / "000004.png") as image:
        assert (image.mode, image.size) == {2: ("RGB", (8, 8)), 4: ("RGBA", (8, 8)), 5: ("L", (40, 8))}[channels]
        pixels = np.asarray(image)
    if channels == 5:
        pixels = np.stack(np.split(pixels, 5, axis=1), axis=2)
    assert np.array_equal(pixels[..., :channels], array[4].transpose(1, 2, 0))


def test_only_the_rows_of_the_grid_stay_in_memory(digits, draw, monkeypatch):
    monkeypatch.setattr(image_grid, "MOST_IMAGES", 4)
    kept, add = [], SampleResults.add

    def watching(self, indices, rows):
        add(self, indices, rows)
        kept.append(weakref.ref(rows))

    monkeypatch.setattr(SampleResults, "add", watching)
    finish = SampleResults.finish
    alive = []

    def counting(self, drawn_with):
        alive.extend(k() is not None for k in kept)
        finish(self, drawn_with)

    monkeypatch.setattr(SampleResults, "finish", counting)
    draw(digits, "out", "num_images=20", "batch_size=2", "task=img2img")
    assert alive == [True, True, *[False] * 7, True]  # the last one is the loop's variable


def test_a_row_longer_than_a_batch_goes_through_in_parts():
    """Never more images at a time than asked for, and the same images."""
    seen = []

    class Spy(Wave):
        def forward(self, x, time, y=None):
            seen.append(len(x))
            return super().forward(x, time, y)

    path, task = BetaSchedule(cosine(1000)), Interpolate(lambda strength: Reconstruct(strength).codec, 1.0, 7)
    x_0 = torch.randint(0, 256, (2, 2, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.tensor([[1, 1], [2, 3]])
    parts, whole = (
        torch.cat([r for _, r in perform(task, Denoiser(Spy(), path, V()), DDIM(Trailing(3)), x_0, y, batch_size=n)])
        for n in (3, 100)
    )
    assert torch.equal(parts, whole)
    assert max(seen[: len(seen) // 2]) == 3


# --- The way from noise -----------------------------------------------------------------------------------------------


def test_a_trajectory_ends_in_the_images(digits, draw):
    plain = draw(digits, "plain", "num_images=5", "spacing.steps=4", "batch_size=4")
    shown = draw(digits, "shown", "num_images=5", "spacing.steps=4", "batch_size=4", "trajectory=3")
    assert pixels(plain) == pixels(shown)
    assert {path.name for path in shown.iterdir()} <= {"sample.yaml", *FILES}
    with Image.open(shown / "trajectory.gif") as film, Image.open(shown / "trajectory.png") as strip:
        assert film.n_frames == 5  # four estimates and the end
        assert film.size == (3 * 66 + 2, 2 * 66 + 2)  # x_t above, x_0 below
        assert strip.size == (5 * 66 + 2, 2 * 3 * 66 + 2)
        last = np.array(strip.convert("L"))
    for i, name in enumerate(("000000", "000001", "000002")):
        with Image.open(shown / "images" / f"{name}.png") as image:
            large = np.array(image).repeat(8, 0).repeat(8, 1)
        for row in (2 * i, 2 * i + 1):
            top, left = row * 66 + 2, 4 * 66 + 2
            assert np.array_equal(last[top : top + 64, left : left + 64], large)
    assert sorted(path.name for path in plain.glob("trajectory*")) == []


@pytest.mark.parametrize(("before", "first"), [(2, 3), (1, 0)])
def test_an_interrupted_job_keeps_its_trajectory(before, first, digits, draw, monkeypatch):
    """It is of the first images: what goes on leaves it alone, and begins anew if there is none of as many images."""
    options = ("num_images=5", "batch_size=3", "trajectory=2")
    whole = draw(digits, "whole", *options)
    with monkeypatch.context() as patch:
        interrupt(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            draw(digits, "parts", *options, f"trajectory={before}")
    drawn = interrupt(monkeypatch, 100)
    parts = draw(digits, "parts", *options)
    assert drawn[0][0] == first
    assert pictures(parts) == pictures(whole)
    assert (parts / "trajectory.gif").read_bytes() == (whole / "trajectory.gif").read_bytes()


def test_a_trajectory_is_no_reason_to_draw_again(digits, draw, monkeypatch):
    options = ("num_images=7", "batch_size=2", "trajectory=2")
    for last in ("trajectory=2", "trajectory=0"):
        with monkeypatch.context() as patch:
            interrupt(patch, 1)
            with pytest.raises(KeyboardInterrupt):
                draw(digits, "out", *options, last)
    drawn = interrupt(monkeypatch, 100)
    draw(digits, "out", *options)
    assert drawn[0][0] == 4


def test_a_trajectory_of_an_inpainting_has_its_resampled_steps(digits, draw):
    of_mask = ("task=inpaint", "task.mask=left", "task.resamples=2", "task.jump_length=2")
    shown = draw(digits, "painted", "num_images=2", "spacing.steps=4", "trajectory=2", *of_mask)
    with Image.open(shown / "trajectory.gif") as film:
        assert film.n_frames > 5


def pixels(directory):
    return {path.name: path.read_bytes() for path in (directory / "images").glob("*.png")}
