"""Images to evaluate: those of a diffusers pipeline, and network evaluations of those of a run."""

import json
import os
import subprocess
import sys

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from torch import nn

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.guidance import AutoGuidance, ClassifierFree
from inkwash.images import to_uint8
from inkwash.jobs.image_sources import Counter, pipeline_images
from inkwash.process.predictions import X0
from inkwash.process.schedules import EDMSchedule
from inkwash.process.spacing import Trailing
from inkwash.random import generator
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate
from inkwash.samplers.heun import Heun

SHAPE, STEPS, SEED = (1, 8, 8), 3, 5


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A tiny one with random weights, saved: (its folder, the pipeline)."""
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = DDPMPipeline(unet.eval(), DDPMScheduler())
    made.save_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return folder, made


def drawn_alone(made, i, seed=SEED):
    """What diffusers itself draws as image i: its steps written out, one image at a time."""
    noise = generator(seed, "sample", offset=i)
    x = torch.randn(1, *SHAPE, generator=noise)
    made.scheduler.set_timesteps(STEPS)
    with torch.no_grad():
        for t in made.scheduler.timesteps:
            x = made.scheduler.step(made.unet(x, t).sample, t, x, generator=noise).prev_sample
    return to_uint8(x.clamp(-1, 1))[0]


def test_image_i_has_its_own_generator_in_any_batch(pipeline):
    folder, made = pipeline
    draw = pipeline_images(folder, SHAPE, STEPS, SEED)
    found = [{}, {}]
    for images, (indices, size) in zip(found, ((range(5), 2), ([4, 1, 0], 256)), strict=True):
        for index, batch in draw(indices, size):
            images |= dict(zip(index, batch, strict=True))
    assert found[0].keys() == {0, 1, 2, 3, 4}
    for i, image in found[0].items():
        # 1/2 may be rounded either way.
        assert (image.int() - drawn_alone(made, i).int()).abs().max() <= 1, i
    assert all((found[0][i].int() - found[1][i].int()).abs().max() <= 1 for i in found[1])
    assert (found[0][0].int() - found[0][1].int()).abs().max() > 50


def test_a_pipeline_of_another_shape_is_refused(pipeline, tmp_path):
    with pytest.raises(UserError, match=r"draws \[1, 8, 8\], but data.shape=\[3, 8, 8\]"):
        next(pipeline_images(pipeline[0], (3, 8, 8), STEPS, SEED)(range(2), 2))
    with pytest.raises(UserError, match="is not a pipeline that diffusers can read"):
        pipeline_images(tmp_path, SHAPE, STEPS, SEED)


def evaluate(*arguments, cwd):
    common = (
        "data=digits", "extractor=classifier", "metrics=[fid,prc]", "num_images=12", "batch_size=5",
        "trainer.accelerator=cpu",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "inkwash.evaluate", *arguments, *common, "out=out"],
        cwd=cwd, capture_output=True, text=True, timeout=200, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((cwd / "out" / "table.json").read_text())
    return result


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pipeline_scores_what_its_images_score(pipeline, tmp_path):
    folder, made = pipeline
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "files" / "images").mkdir(parents=True)
    for i in range(12):
        Image.fromarray(drawn_alone(made, i)[0].numpy()).save(tmp_path / "files" / "images" / f"{i:02d}.png")
    options = (f"pipeline={folder}", f"seed={SEED}", f"spacing.steps={STEPS}")
    one = evaluate(*options, "trainer.devices=1", cwd=tmp_path / "one")
    two = evaluate(*options, "trainer.devices=2", cwd=tmp_path / "two")
    files = evaluate("images=images", cwd=tmp_path / "files")
    assert one["metrics"]["fd_classifier_12"] > 10
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-3)
    assert files["metrics"] == pytest.approx(one["metrics"], rel=1e-3)
    assert (one["sampler"], one["steps"], one["seed"]) == ("pipeline", STEPS, SEED)
    record = one["records"]["fd_classifier_12"]
    assert (record["n_fake"], record["reference"], record["extractor"]) == (12, "heldout", "classifier")


# --- Network evaluations ----------------------------------------------------------------------------------------------

SCHEDULE, N, SAMPLER_STEPS = EDMSchedule(), 6, 4


class Zero(nn.Module):
    """A network that counts for itself the images it is shown."""

    num_classes = 10
    seen = 0

    def forward(self, x, time, y=None):
        self.seen += len(x)
        return torch.zeros_like(x)


def counted(guide, sampler):
    """(images counted, images that the two networks saw), for N images in batches of 4."""
    good, bad = Zero(), Zero()
    denoiser = guide(Denoiser(good, SCHEDULE, X0()), Denoiser(bad, SCHEDULE, X0()))
    counter = Counter(denoiser)
    for _ in generate(denoiser, sampler, (1, 2, 2), range(N), torch.arange(N), batch_size=4):
        pass
    return counter.images, good.seen + bad.seen


@pytest.mark.parametrize(
    ("guide", "calls"),
    {
        "none": (lambda good, bad: good, 1.0),
        "classifier-free": (lambda good, bad: ClassifierFree(good, 2.0), 2.0),
        "auto": (lambda good, bad: AutoGuidance(good, 2.0, bad), 2.0),
    }.values(),
)
@pytest.mark.parametrize(("sampler", "each"), [(DDIM, 1), (Heun, 2 - 1 / SAMPLER_STEPS)])
def test_every_call_of_every_network_counts(guide, calls, sampler, each):
    found, seen = counted(guide, sampler(Trailing(SAMPLER_STEPS)))
    assert found == seen
    assert found / N == calls * each * SAMPLER_STEPS


def test_outside_its_interval_the_worse_network_costs_nothing():
    spacing = Trailing(SAMPLER_STEPS)
    ratios = SCHEDULE.sigma_over_alpha(torch.as_tensor(spacing(SCHEDULE)))[:-1]
    low = float(ratios.sort().values[1])  # guided above the second lowest time
    found, seen = counted(lambda good, bad: AutoGuidance(good, 2.0, bad, interval=[low, 1e9]), DDIM(spacing))
    assert found == seen
    assert found / N == SAMPLER_STEPS + SAMPLER_STEPS - 2
