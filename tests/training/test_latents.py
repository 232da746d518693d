"""Training on latents: an autoencoder that is the identity changes nothing, one of diffusers goes the whole way."""

import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from inkwash.autoencoders import cache
from inkwash.autoencoders.base import latent_noise
from inkwash.autoencoders.refusals import check_clip, check_likelihood, check_training
from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.data.digits import Digits
from inkwash.data.images import Flipped
from inkwash.data.module import ImageDataModule
from inkwash.errors import UserError
from inkwash.images import to_float, to_uint8
from inkwash.jobs.train import train
from inkwash.process.spacing import Trailing
from inkwash.random import generator
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM
from support.autoencoders import blocks, save_kl
from support.run_diff import differences, records, rows
from support.runs import TESTS, WITH_PAGE, composed, environment, quick
from support.training import NO_METRIC, PAGE, checkpoint

QUICK = "extractor=pyramid"
HEUN = "callbacks.samples.sampler={_target_: inkwash.samplers.heun.Heun, spacing: ${spacing}, clip: 1}"
PIXELS = ("data.flip=true", QUICK)


def test_the_identity_trains_draws_and_measures_as_pixels_do(fit_run):
    """Every bit of weights, optimizer, averages, sums, grids and metrics, with mirror images."""
    pixels, _, _ = fit_run("pixels", *PIXELS)
    same, _, _ = fit_run("same", *PIXELS, "autoencoder=none")
    one, other = (
        {k: v for k, v in checkpoint(run).items() if k not in ("config", "latents")} for run in (pixels, same)
    )
    assert differences(one, other) == []
    assert rows(pixels) == rows(same)
    assert records(pixels) == records(same)
    grids = sorted(pixels.glob("samples/*.png"))
    assert grids
    assert all(grid.read_bytes() == (same / "samples" / grid.name).read_bytes() for grid in grids)
    assert torch.equal(load_run(pixels).sample(4), load_run(same).sample(4))


@pytest.fixture(scope="module")
def kl(tmp_path_factory):
    pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("kl")
    save_kl(folder)
    return "autoencoder=kl", f"autoencoder.path={folder}"


@pytest.mark.slow
def test_a_run_on_latents(fit_run, kl, tmp_path):
    """Grids, metrics and the page are of images; its checkpoint has what decoding needs; a resume changes no bit."""
    options = (*kl, QUICK, "learning_rate.total_steps=4", "model.dropout=0.2")
    whole, _, _ = fit_run("whole", *options, WITH_PAGE)
    assert [name for name in PAGE if not (whole / name).is_file()] == []
    assert "cannot be written" not in (whole / "train.log").read_text()
    fit_run("parts", *options, WITH_PAGE, "trainer.max_steps=2")
    parts, _, _ = fit_run("parts", *options, WITH_PAGE)
    assert [at for at in differences(checkpoint(whole), checkpoint(parts)) if "BestCheckpoint" not in at] == []
    assert records(whole) == records(parts)[-len(records(whole)) :]
    run = load_run(whole.rename(tmp_path / "moved"))
    assert (run.shape, run.network_shape) == ((1, 8, 8), (2, 4, 4))
    images, sampler = run.sample(3, sampler=DDIM(Trailing(3), clip=None), guidance=1.0), DDIM(Trailing(3), clip=None)
    z = sampler(run.denoiser, ImageNoise(0, range(3), (2, 4, 4)), torch.arange(3))
    assert run.autoencoder is not None
    assert torch.equal(images, to_uint8(run.autoencoder.decode(z)))
    assert run.trajectory(2, sampler=sampler).x_t[0].shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match=r"sampler.clip=null"):
        run.sample(3, sampler=DDIM(Trailing(3)))


@pytest.mark.slow
def test_another_autoencoder_is_refused(fit_run, kl, tmp_path):
    run = RunDirectory(fit_run("run", *kl, NO_METRIC)[0])
    save_kl(tmp_path / "other", seed=1)
    advice = f"give the same weights as autoencoder.path, {run.autoencoder} for one"
    with pytest.raises(UserError, match=rf"{tmp_path / 'other'} is not the one that the run was trained .* {advice}"):
        fit_run("run", *kl, f"autoencoder.path={tmp_path / 'other'}", NO_METRIC, "trainer.max_steps=6")
    shutil.rmtree(run.autoencoder)
    (tmp_path / "other").rename(run.autoencoder)
    message = f"{run.autoencoder} is not the one .*: put the files that it was trained with into {run.autoencoder}"
    with pytest.raises(UserError, match=message):
        load_run(run)


class Trained:
    """The trainer of a data module that begins at a step."""

    world_size, global_rank, accumulate_grad_batches, overfit_batches, num_nodes = 1, 0, 1, 0, 1

    def __init__(self, step: int):
        self.global_step = step
        self.strategy = type("Strategy", (), {"root_device": torch.device("cpu")})


def seen(batch_size, steps, flip, workers=0, cached=None):
    """Return pairs of pixels and latents of the images that a training sees."""
    data = ImageDataModule(Digits(450, 0), [1, 8, 8], 10, batch_size, flip=flip, num_workers=workers, seed=3)
    data.autoencoder = blocks([1, 8, 8])
    data.autoencoder.cache = cached
    data.trainer = Trained(steps.start)  # pyright: ignore[reportAttributeAccessIssue]
    found = []
    for _, batch in zip(steps, data.train_dataloader(), strict=False):
        latents, _ = data.on_after_batch_transfer(tuple(batch), 0)
        found += [(x, z) for x, z in zip(batch[0], latents, strict=True)]
    return found


@pytest.mark.parametrize("flip", [False, True])
def test_latents_depend_on_seed_epoch_and_image(flip):
    """Neither on the batch size nor on where the training begins; in the next epoch they are drawn anew."""
    N = 1347 * (2 if flip else 1)
    one, other = seen(50, range(40, 60), flip), seen(100, range(20, 30), flip)
    assert all(torch.equal(a, b) and torch.equal(y, z) for (a, y), (b, z) in zip(one, other, strict=True))
    ae = blocks([1, 8, 8])
    assert all(((z - ae.encode(to_float(x)[None])[0]).abs() < 0.6).all() for x, z in one), (
        "the latents are of these images, mirrored ones among them"
    )
    first = {x.numpy().tobytes(): z for x, z in seen(N, range(1), flip)}
    second = {x.numpy().tobytes(): z for x, z in seen(N, range(1, 2), flip)}
    assert first.keys() == second.keys()
    assert not any(torch.equal(first[x], second[x]) for x in first)


def test_the_noise_is_standard_normal_per_image():
    noise = latent_noise((4, 4, 4), 0, "train", 0, range(200))
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.5
    assert abs(float(noise.std()) - 1) < 0.02


def test_readers_give_the_same_latents():
    one, other = seen(64, range(3), True), seen(64, range(3), True, workers=1)
    assert all(torch.equal(a, b) and torch.equal(y, z) for (a, y), (b, z) in zip(one, other, strict=True))


BLOCKS = "autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]}"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("sampler.clip=1",), "sampler.clip bounds"),
        (("sampler=ddim_dynamic",), "sampler.clip bounds"),
        ((HEUN,), "sampler.clip bounds"),
        (("augment=edm", "model=ddpmpp_small"), "augment changes pixels"),
        (("loss=vlb",), "loss=vlb is the bound on the bits of pixels"),
    ],
)
def test_what_makes_no_sense_on_latents(overrides, reason, compose_config):
    config = compose_config(BLOCKS, *overrides)
    with pytest.raises(UserError, match=reason):
        check_training(config)
    check_training({**config, "autoencoder": None})
    check_training({**config, "autoencoder": {"_target_": "inkwash.autoencoders.base.Identity"}})
    with pytest.raises(UserError, match="bits of pixels"):
        check_likelihood(config)
    check_clip(None, config)


def test_only_pixels_are_clipped(compose_config, tmp_path):
    """By the training's autoencoder, or that of the run that is drawn from, as nothing else is typed."""
    latents = compose_config(BLOCKS)
    assert latents["sampler"]["clip"] is latents["callbacks"]["samples"]["sampler"]["clip"] is None
    RunDirectory(tmp_path).write_config(latents)
    for run, clip in ((tmp_path, None), (TESTS / "golden" / "runs" / "default", 1.0)):
        assert compose_config(f"run={run}", config_name="sample")["sampler"]["clip"] == clip


@pytest.mark.parametrize("path", sorted(Path(config_dir(), "sampler").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_samplers_clip_knows_latents(path):
    """A bound in a YAML would be refused there; euler has none, ddim_dynamic has its own."""
    clip = yaml.safe_load(path.read_text())["clip"]
    assert clip == "${pixel_clip:}" or path.stem in ("euler", "ddim_dynamic")


def test_a_sampler_whose_yaml_has_no_clip_is_refused(quick_run):
    """Its class has the bound of pixels."""
    sampler = "callbacks.samples.sampler={_target_: inkwash.samplers.ddim.DDIM, spacing: ${spacing}}"
    run = quick_run("run", BLOCKS, NO_METRIC, sampler)
    with pytest.raises(UserError, match="sampler.clip bounds"):
        train(run)


def test_cached_moments_give_the_same_latents_to_rounding(tmp_path):
    data = ImageDataModule(Digits(450, 0), [1, 8, 8], 10, 64, flip=True, seed=3)
    ae, images = blocks([1, 8, 8]), Flipped(data.train)
    meta = cache.identity(data.train.fingerprint, len(images), True, ae)
    cache.begin(tmp_path / "out", meta)
    cache.fill(tmp_path / "out", meta, images, ae, 0, 1)
    cache.finish(tmp_path / "out")
    for workers in (0, 1):
        fresh = [z for _, z in seen(64, range(2), True, workers)]
        cached = [z for _, z in seen(64, range(2), True, workers, str(tmp_path / "out"))]
        assert all((a - b).abs().max() < 4e-3 for a, b in zip(fresh, cached, strict=True))


def test_a_stream_is_encoded_while_it_is_read(tmp_path):
    pixels = torch.randint(0, 256, (60, 1, 8, 8), generator=generator("stream"), dtype=torch.uint8)
    rows = [{"bytes": png(image), "path": None} for image in pixels]
    pq.write_table(pa.table({"image": rows, "label": [0] * 60}), tmp_path / "train.parquet", row_group_size=20)
    source = build(composed("data=parquet_stream", f"data.path={tmp_path}", "data.shape=[1,8,8]")["data"]["source"])
    data = ImageDataModule(source, [1, 8, 8], None, 8, path=str(tmp_path), flip=True)
    ae = data.autoencoder = blocks([1, 8, 8])
    data.trainer = Trained(0)  # pyright: ignore[reportAttributeAccessIssue]
    batch = next(iter(data.train_dataloader()))
    z, _ = data.on_after_batch_transfer(tuple(batch), 0)
    assert torch.equal(z, ae.encode(to_float(batch[0]), batch[2]))
    split = Flipped(data.train)
    meta = cache.identity(data.train.fingerprint, len(split), True, ae)
    cache.begin(tmp_path / "out", meta)
    cache.fill(tmp_path / "out", meta, split, ae, 0, 1)
    cache.finish(tmp_path / "out")
    ae.cache = str(tmp_path / "out")
    again, _ = data.on_after_batch_transfer(tuple(next(iter(data.train_dataloader()))), 0)
    assert (again - z).abs().max() < 4e-3


def png(image):
    file = BytesIO()
    Image.fromarray(image[0].numpy()).save(file, "png")
    return file.getvalue()


def command(*words, cwd):
    words = (sys.executable, "-m", "inkwash", *words)
    ended = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=400, env=environment())
    return ended.returncode, ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_encode_on_two_ranks(kl, tmp_path):
    """The same bits as on one; another autoencoder is refused."""
    autoencoder = (*kl[:2], "data.flip=true")
    for out, devices in (("one", 1), ("two", 2)):
        trainer = ("trainer.accelerator=cpu", f"trainer.devices={devices}")
        code, said = command("encode", *autoencoder, f"out={out}", *trainer, cwd=tmp_path)
        assert code == 0, said
    first, second = ((tmp_path / name / "moments").read_bytes() for name in ("one", "two"))
    assert first == second
    assert len(first) == 2 * 2 * 1347 * 4 * 4 * 4
    code, said = command("encode", "autoencoder=none", "out=one", "trainer.accelerator=cpu", cwd=tmp_path)
    assert code == 1
    assert "holds latents of another autoencoder" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_train_as_one(kl, tmp_path):
    """The same normalisation bit by bit, the same weights to rounding."""
    options = (*kl, "data.flip=true", *quick(), NO_METRIC, "~callbacks.samples")
    for run, trainer in (("alone", "trainer=cpu"), ("pair", "trainer=ddp_cpu")):
        code, said = command("train", *options, f"run={run}", trainer, cwd=tmp_path)
        assert code == 0, said
    alone, pair = (checkpoint(tmp_path / "runs" / run) for run in ("alone", "pair"))
    assert alone["latents"] == pair["latents"]
    for name, value in alone["state_dict"].items():
        assert torch.allclose(value, pair["state_dict"][name], atol=1e-4), name
