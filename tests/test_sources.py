"""Images that no run of ours draws meet the same ruler: pipelines of diffusers."""

import json
import os
import subprocess
import sys

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from inkwash.errors import UserError
from inkwash.images import to_uint8
from inkwash.jobs.image_sources import pipeline_images
from inkwash.random import generator

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


def test_image_i_is_that_of_its_own_generator_in_any_batch(pipeline):
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


def test_a_pipeline_of_another_shape_and_none_at_all_are_refused(pipeline, tmp_path):
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
