"""Our DiT against diffusers' DiTTransformer2DModel: the same weights make the same function."""

import pytest
import torch
from diffusers import DiTTransformer2DModel

from inkwash.errors import UserError
from inkwash.interop.dit_weights import dit_config, to_dit
from inkwash.interop.pipeline import export_diffusers
from inkwash.nets.dit import DiT
from inkwash.run import load_run

SMALL = {"shape": [2, 8, 8], "patch_size": 2, "width": 32, "depth": 3, "num_heads": 4, "num_classes": 5}
CASES = {
    "plain": SMALL,
    "learned variance, large patches": SMALL | {"learn_variance": True, "patch_size": 4, "num_heads": 1},
    "their sinusoids": SMALL | {"freq_shift": 1},
}
DIT = ("model=dit_digits", "model.width=32", "model.depth=2", "model.num_heads=2", "sampler=ancestral")


def shift(transformer, value):
    """Set the sinusoids of every block, of which each has its own."""
    for block in transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = value
    return transformer.eval()


def difference(ours, theirs, shape, dtype):
    """Largest difference of the outputs at two times, with a class and without."""
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    time, null = torch.tensor([3, 950]), ours.num_classes
    with torch.no_grad():
        a = ours.to(dtype)(x, time.to(dtype), torch.tensor([1, -1]))
        b = theirs.to(dtype)(x, timestep=time, class_labels=torch.tensor([1, null])).sample
    assert a.std() > 0.03
    return (a - b).abs().max().item()


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_the_same_weights_make_the_same_function(arguments):
    ours, theirs = DiT(**arguments).eval(), DiTTransformer2DModel(**dit_config(**arguments))
    generator = torch.Generator().manual_seed(0)
    for p in ours.parameters():
        p.data = 0.2 * torch.randn(p.shape, generator=generator)
    assert theirs.load_state_dict(to_dit(ours, ours.state_dict()), strict=True)
    shift(theirs, arguments.get("freq_shift", 0))
    assert difference(ours, theirs, arguments["shape"], torch.float32) < 2e-5


@pytest.mark.parametrize("freq_shift", [0, 1])
def test_diffusers_loads_an_export(freq_shift, untrained, tmp_path, caplog):
    """At once with freq_shift=1, else with the line that the export says to add."""
    directory = untrained(*DIT, f"model.freq_shift={freq_shift}")
    out = export_diffusers(directory, tmp_path / "out")
    theirs = DiTTransformer2DModel.from_pretrained(out, subfolder="transformer")
    said = "time_proj.downscale_freq_shift=0 for block in transformer.transformer_blocks" in caplog.text
    assert said == (freq_shift == 0)
    if freq_shift == 0:
        assert difference(load_run(directory).denoiser.net, theirs.eval(), (1, 8, 8), torch.float32) > 1e-3
        shift(theirs, 0)
    assert difference(load_run(directory).denoiser.net, theirs.eval(), (1, 8, 8), torch.float32) < 2e-5
    assert (out / "scheduler" / "scheduler_config.json").is_file()
    card = (out / "README.md").read_text()
    assert 'DiTTransformer2DModel.from_pretrained(".", subfolder="transformer")' in card
    assert "The label 10 means no label." in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("model.rotary=true",), "model.rotary=true has no counterpart in DiTTransformer2DModel, only false has"),
        (("model.time_scale=0.001",), "model.time_scale=0.001 has no counterpart"),
        (("model.num_classes=null",), "model.num_classes=null has no counterpart"),
        (("data.shape=[1,8,16]",), "data.shape: DiTTransformer2DModel takes squares, not 8 x 16"),
        (("schedule.betas.T=500",), "schedule.betas.T=500 stretches the network's time"),
        (("schedule=flow",), "schedule: FlowSchedule has no counterpart"),
    ],
)
def test_what_diffusers_cannot_express_is_refused(options, message, untrained, tmp_path):
    directory = untrained(*DIT, *options)
    with pytest.raises(UserError, match=f"^{message}"):
        export_diffusers(directory, tmp_path / "out")
    assert not (tmp_path / "out").exists()
