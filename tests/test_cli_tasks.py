"""`make sample` with its tasks and guides, mostly in this process and on a run of random weights."""

import io
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from inkwash.errors import UserError
from inkwash.jobs.sample import choose_inputs
from inkwash.jobs.sample import sample as draw
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.training.build import build_module

EDITS = ("inpaint", "img2img", "interpolate", "reconstruct")
FEW = ("num_images=3", "spacing.steps=4", "trainer.accelerator=cpu")


def write_run(directory, compose_config, *overrides):
    """A run directory of a network as it begins, but shaken: it begins as one that answers nothing.

    Of 24 channels the normalisation makes groups of three; groups of one would be deaf to labels.
    """
    config = compose_config("logger=csv", "trainer=cpu", "trainer.precision=32-true", "model.channels=24", *overrides)
    module = build_module(config)
    generator = torch.Generator().manual_seed(config["seed"])
    state = {key: v + 0.1 * torch.randn(v.shape, generator=generator) for key, v in module.state_dict().items()}
    (directory / "checkpoints").mkdir(parents=True)
    RunDirectory(directory).write_config({key: v for key, v in config.items() if key not in ("run", "sweep", "resume")})
    torch.save({"state_dict": state, "global_step": 0}, directory / "checkpoints" / "last.ckpt")
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory, compose_config):
    return write_run(tmp_path_factory.mktemp("runs") / "digits", compose_config)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory, compose_config):
    return write_run(tmp_path_factory.mktemp("runs") / "unlabelled", compose_config, "model.num_classes=null")


@pytest.fixture
def sample(run, tmp_path, compose_config):
    """sample(name, *overrides): draw in this process into a folder of that name, which it returns."""

    def draw_into(name, *overrides, of=run):
        config = compose_config(f"run={of}", *FEW, *overrides, config_name="sample")
        (tmp_path / name).mkdir()
        OmegaConf.save(OmegaConf.create(config), tmp_path / name / "sample.yaml")
        draw(tmp_path / name)
        return tmp_path / name

    return draw_into


def pictures(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*.png"))}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


# --- Tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("task", EDITS)
def test_a_task_leaves_its_images_and_a_grid_and_repeats_itself(task, sample):
    settings = (f"task={task}", *(("task.frames=3",) if task == "interpolate" else ()))
    one, two = (sample(name, *settings) for name in ("a", "b"))
    assert pictures(one) == pictures(two)
    names = [f"{i:06d}-{k:02d}.png" for i in range(3) for k in range(3)]
    assert sorted(pictures(one)) == [*(names if task == "interpolate" else ["000000.png", "000001.png", "000002.png"]),
                                     "grid.png"]  # fmt: skip
    assert pixels(one / "images" / min(pictures(one))).shape == (8, 8)


@pytest.mark.parametrize("task", ["inpaint", "interpolate"])
def test_a_task_needs_no_classes(task, sample, unlabelled):
    assert len(pictures(sample("out", f"task={task}", of=unlabelled))) > 1


def test_the_grid_shows_input_mask_and_result_side_by_side(sample):
    out = sample("out", "task=inpaint", "task.mask=top", "num_images=1")
    grid, image = pixels(out / "grid.png")[..., 0], pixels(out / "images" / "000000.png")
    shown = [grid[11:75:8, left : left + 64 : 8] for left in (11, 76, 141)]
    assert grid.shape == (86, 216)
    assert (shown[1][:4] == 128).all()
    assert (shown[1][4:] == shown[0][4:]).all()
    assert (shown[2][4:] == shown[0][4:]).all()
    assert (shown[2] == image).all()
    assert not (shown[2] == shown[0]).all()


def test_reconstruction_reports_its_error(sample, capsys):
    coarse, fine = (sample(f"{n}", "task=reconstruct", f"spacing.steps={n}", "guidance=1") for n in (10, 40))
    errors = [json.loads((out / "report.json").read_text())["rmse_levels"] for out in (coarse, fine)]
    assert errors[1] < errors[0] / 2
    assert f"rmse_levels {errors[0]:.4g}" in capsys.readouterr().out


def test_inputs_are_what_the_user_names(sample, tmp_path):
    """Over and over where there are too few, each time with other noise."""
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "mine.png")
    found = pictures(sample("out", "task=img2img", f"task.images={tmp_path / 'mine.png'}", "task.strength=0.25"))
    assert len(set(found.values())) == 4
    near = [pixels(tmp_path / "out" / "images" / f"00000{i}.png").astype(int) - levels for i in range(3)]
    far = pixels(sample("far", "task=img2img", "task.strength=0.25") / "images" / "000000.png").astype(int) - levels
    assert max(np.abs(error).mean() for error in near) < np.abs(far).mean()


def test_a_mask_file_is_obeyed(sample, tmp_path):
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2, 3] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(np.full((8, 8), 77, dtype=np.uint8)).save(tmp_path / "grey.png")
    edited = ("task=inpaint", f"task.mask={tmp_path / 'mask.png'}", f"task.images={tmp_path / 'grey.png'}")
    painted = pixels(sample("out", *edited) / "images" / "000000.png")
    assert (painted != 77).sum() == 1
    assert painted[2, 3] != 77


# --- What they start from ---------------------------------------------------------------------------------------------


def task_of(compose_config, name, run, *overrides):
    from inkwash.config.instantiate import build

    return build(compose_config(f"task={name}", f"run={run}", *overrides, config_name="sample")["task"])


def test_heldout_images_have_labels_and_a_fixed_order(run, compose_config):
    loaded, task = load_run(run), task_of(compose_config, "interpolate", run)
    x_0, y = choose_inputs(loaded, task, 10, None)
    assert x_0.shape == (10, 2, 1, 8, 8)
    assert y.shape == (10, 2)
    fewer, labels = choose_inputs(loaded, task, 4, None)
    assert torch.equal(fewer[:], x_0[:4])
    assert torch.equal(labels, y[:4])
    assert len(set(y.flatten().tolist())) > 5
    heldout = {image.numpy().tobytes(): label for image, label in zip(*heldout_of(loaded), strict=True)}
    assert [heldout[image.numpy().tobytes()] for image in x_0[:].flatten(0, 1)] == y.flatten().tolist()


def heldout_of(run):
    from inkwash.config.instantiate import build

    data = build(run.config["data"]).heldout
    return data.images, data.labels.tolist()


@pytest.mark.slow
def test_label_stands_for_all_of_them(run, unlabelled, compose_config):
    for name, shape in (("generate", (5, 1)), ("inpaint", (5, 1)), ("interpolate", (5, 2))):
        task = task_of(compose_config, name, run)
        assert torch.equal(choose_inputs(load_run(run), task, 5, 3)[1], torch.full(shape, 3))
        assert choose_inputs(load_run(unlabelled), task, 5, None)[1] is None
    assert choose_inputs(load_run(run), task_of(compose_config, "generate", run), 12, None)[1].flatten().tolist() == [
        *range(10), 0, 1,
    ]  # fmt: skip


def test_data_that_moved_away_are_missed_in_a_sentence(run, compose_config):
    loaded = load_run(run)
    loaded.config["data"] = {
        "_target_": "inkwash.data.module.ImageDataModule", "source": {"_target_": "inkwash.data.folder.Folder"},
        "path": "/nowhere", "shape": [1, 8, 8], "num_classes": None, "batch_size": 1,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"own images cannot be loaded \(data.path=/nowhere .*: pass task.images="):
        choose_inputs(loaded, task_of(compose_config, "inpaint", run), 5, None)


# --- Guides -----------------------------------------------------------------------------------------------------------


def test_guidance_stays_a_number(sample, run):
    one, two, none, plain = (sample(f"g{g}", f"guidance={g}") for g in (1, 2, "null", 1.5))
    assert pictures(one) != pictures(two)
    assert pictures(none) == pictures(plain)  # that of the run's grids


@pytest.mark.slow
def test_guidance_interval_empty_and_full(sample):
    plain, guided = (pictures(sample(f"g{g}", f"guidance={g}")) for g in (1, 3))
    nowhere = pictures(sample("nowhere", "guidance=3", "guide.interval=[1e8,1e9]"))
    everywhere = pictures(sample("everywhere", "guidance=3", "guide.interval=[0,1e9]"))
    middle = pictures(sample("middle", "guidance=3", "guide.interval=[0.3,5]"))
    assert nowhere == plain
    assert everywhere == guided
    assert plain != middle != guided


@pytest.mark.slow
def test_rescaling_is_heard(sample):
    plain = pictures(sample("a", "guidance=3"))
    assert plain != pictures(sample("b", "guidance=3", "guide.rescale=0.7"))
    assert plain != pictures(sample("c", "guidance=3", "guide=apg"))


def test_autoguidance_by_another_run(sample, run, unlabelled, tmp_path, compose_config):
    """By itself it changes nothing; by another one it does, with labels and without."""
    plain = pictures(sample("plain", "guidance=1"))
    assert pictures(sample("itself", "guidance=2", "guide=auto", f"guide.bad.run={run}")) == plain
    worse = write_run(tmp_path / "bad", compose_config, "seed=1", "model.channels=40", "prediction=x0")
    assert pictures(sample("worse", "guidance=2", "guide=auto", f"guide.bad.run={worse}")) != plain
    both = (f"guide.bad.run={worse}", "guidance=2", "guide=auto")
    assert len(pictures(sample("unlabelled", *both, of=unlabelled))) == 4


@pytest.mark.slow
def test_autoguidance_by_a_run_that_does_not_fit(sample, run, tmp_path, compose_config):
    linear = write_run(tmp_path / "linear", compose_config, "schedule=linear")
    with pytest.raises(UserError, match="trained on another schedule"):
        sample("a", "guidance=2", "guide=auto", f"guide.bad.run={linear}")
    large = write_run(tmp_path / "large", compose_config, "data.shape=[3,16,16]")
    with pytest.raises(UserError, match=r"draws images of shape \[3, 16, 16\], run=.* of \[1, 8, 8\]"):
        sample("b", "guidance=2", "guide=auto", f"guide.bad.run={large}")
    few = write_run(tmp_path / "few", compose_config, "data.num_classes=5")
    with pytest.raises(UserError, match="was trained with 5 classes, run=.* with 10"):
        sample("few-classes", "guidance=2", "guide=auto", f"guide.bad.run={few}")
    with pytest.raises(UserError, match="guide.bad.run has no value yet"):
        sample("c", "guidance=2", "guide=auto")
    with pytest.raises(UserError, match="guide=auto does nothing at guidance=1"):
        sample("d", "guidance=1", "guide=auto", f"guide.bad.run={run}")


# --- Mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = {
    "task=inpaint task.mask=middle": "task.mask=middle must be left, right",
    "task=inpaint task.mask=wide.png": r"is 3 x 5 pixels \(height x width\), but the images are 8 x 8",
    "task=img2img task.images=nowhere.png": "task.images=nowhere.png does not exist",
    "task=img2img task.strength=0": "task.strength=0 must lie above 0",
    "task=reconstruct task.strength=1.5": "task.strength=1.5 must lie above 0 and be at most 1",
    "guide.interval=[2,1]": r"guide.interval=\[2, 1\] must be",
    "label=11": "label=11: this run was trained with model.num_classes=10",
}


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.items())
def test_mistakes_end_in_a_sentence(arguments, sentence, sample, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (5, 3), 255).save("wide.png")
    with pytest.raises(UserError, match=sentence):
        sample("out", *arguments.split())


def test_guidance_without_labels_ends_in_a_sentence(sample, unlabelled):
    with pytest.raises(UserError, match="guidance needs class labels"):
        sample("out", "guidance=2", of=unlabelled)


@pytest.mark.slow
def test_guidance_without_label_dropout_is_refused(sample, tmp_path, compose_config):
    always = write_run(tmp_path / "always", compose_config, "loss.label_dropout=0")
    with pytest.raises(UserError, match="loss.label_dropout=0"):
        sample("out", "guidance=2", of=always)
    assert pictures(sample("plain", of=always)) == pictures(sample("one", "guidance=1", of=always))


# --- The command itself -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_edits_with_a_run(run, tmp_path):
    command = [sys.executable, "-m", "inkwash.sample", f"run={run}", *FEW, "task=inpaint"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    out = run / "samples" / "inpaint-ddim-4steps-seed0"
    assert result.stdout.splitlines()[-1] == f"{out}/grid.png    and 3 images in {out}/images"
    assert sorted(pictures(out)) == ["000000.png", "000001.png", "000002.png", "grid.png"]


@pytest.mark.slow
@pytest.mark.parametrize("task", EDITS)
def test_every_task_runs_on_a_trained_run(task, fit_run, tmp_path, compose_config):
    directory, *_ = fit_run("trained", "~callbacks.evaluation", "trainer.max_steps=2")
    command = [
        sys.executable,
        "-m",
        "inkwash.sample",
        f"run={directory}",
        *FEW,
        f"task={task}",
        f"out={tmp_path / 'o'}",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert len(pictures(tmp_path / "o")) >= 4


def test_labels_that_the_run_does_not_know_are_refused(run, compose_config, tmp_path):
    """They would be rows beyond the table of classes."""
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    rows = {"image": [picture.getvalue()] * 2, "label": [3, 10]}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    task = task_of(compose_config, "img2img", run, f"task.images={tmp_path}/x.parquet")
    with pytest.raises(UserError, match=r"x.parquet has labels up to 10, and the run those below 10: pass label=0"):
        choose_inputs(load_run(run), task, 2, None)
    assert choose_inputs(load_run(run), task, 1, None)[1].tolist() == [[3]]
    assert choose_inputs(load_run(run), task, 2, 4)[1].tolist() == [[4], [4]]
