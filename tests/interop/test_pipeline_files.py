"""Fields and weights of another type than expected are named."""

import shutil

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from inkwash.errors import UserError
from inkwash.interop.pipeline_import import import_diffusers
from support.interop import SCHEDULER, UNET, UNET_FILE, edit

BROKEN = [
    (UNET_FILE, "sample_size", "abc"), (UNET_FILE, "sample_size", 0), (UNET_FILE, "sample_size", [8, -8]),
    (UNET_FILE, "block_out_channels", 5), (UNET_FILE, "block_out_channels", []), (UNET_FILE, "block_out_channels", [0]),
    (UNET_FILE, "in_channels", None), (UNET_FILE, "in_channels", True), (UNET_FILE, "layers_per_block", -1),
    (UNET_FILE, "dropout", "x"), (UNET_FILE, "dropout", -1), (UNET_FILE, "down_block_types", [1]),
    (UNET_FILE, "num_class_embeds", -3), (UNET_FILE, "attention_head_dim", 0), (UNET_FILE, "norm_num_groups", "x"),
    (UNET_FILE, "", 1), (UNET_FILE, "down_block_types", []), (UNET_FILE, "sample_size", 7),
    (SCHEDULER, "trained_betas", 5), (SCHEDULER, "trained_betas", ["x"] * 1000), (SCHEDULER, "beta_start", "x"),
    (SCHEDULER, "beta_end", 5), (SCHEDULER, "beta_schedule", [1]), (SCHEDULER, "clip_sample_range", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The files of a pipeline."""
    folder = tmp_path_factory.mktemp("pipeline")
    DDPMPipeline(UNet2DModel(**UNET), DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("file", "field", "value"), BROKEN)
def test_a_field_that_cannot_be_is_named(file, field, value, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "theirs")
    edit(folder / file, **{field: value})
    with pytest.raises(UserError) as error:
        import_diffusers(folder, tmp_path / "new")
    assert str(error.value).startswith(f"{folder / file}: ")
    assert field in str(error.value) or field in ("num_class_embeds", "beta_end", "sample_size")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("file", [UNET_FILE, SCHEDULER])
@pytest.mark.parametrize("text", ["[]", "5", "null", '"x"'])
def test_a_file_of_no_fields_is_named(file, text, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "theirs")
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=rf"{file} holds no fields: download it again"):
        import_diffusers(folder, tmp_path / "new")


@pytest.mark.parametrize("found", [[1, 2], 5, {"conv_in.weight": 5}, {5: torch.zeros(1)}])
def test_a_file_without_tensors_is_named(found, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "theirs")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(found, folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin.* (no weights by their names|not a tensor): download it"):
        import_diffusers(folder, tmp_path / "new")
