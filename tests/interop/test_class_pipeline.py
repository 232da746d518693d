"""assets/pipeline.py: what diffusers draws by class with an export is what we draw, from the same noise."""

import re

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import dynamic_modules_utils
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from inkwash.config.instantiate import build
from inkwash.guidance_scale import guided
from inkwash.interop.pipeline import export_diffusers
from inkwash.interop.pipeline_import import import_diffusers
from inkwash.run import load_run
from support.interop import LEARNED

SMALL = "model.channels=32"
RUNS = {
    "default": ("sampler=ancestral",),
    "eps": ("schedule=linear", "prediction=eps", "sampler=ancestral"),
    "flow": ("schedule=flow", "prediction=flow", "sampler=euler", "spacing=linspace"),
    "learned variance": (*LEARNED, "prediction=eps", "sampler=ancestral"),
}
QUICK = ("default", "flow")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """diffusers copies the code that it runs to a folder of its own: here to another one than the user's."""
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")

    def from_pretrained(folder, **more):
        pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, **more)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return from_pretrained


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_it_draws_what_we_draw(name, untrained, load, tmp_path):
    directory = untrained(SMALL, *RUNS[name], "spacing.steps=50")
    run, out = load_run(directory), export_diffusers(directory, tmp_path / "out")
    pipe, labels = load(out, custom_pipeline=str(out)), [3, 0, 9]
    theirs = pipe(
        class_labels=labels, num_inference_steps=50, guidance_scale=1.5, generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images  # fmt: skip
    draw = torch.Generator().manual_seed(5)
    ours = build(run.config["sampler"])(
        guided(run.denoiser, 1.5), lambda: randn_tensor((3, 1, 8, 8), generator=draw), torch.tensor(labels)
    )
    torch.testing.assert_close(theirs, (ours / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)  # 2e-5 of -1 to 1


def test_it_is_called_in_many_ways_and_comes_back(untrained, load, tmp_path):
    directory = untrained(SMALL)
    out = export_diffusers(directory, tmp_path / "out")
    pipe = load(out)  # model_index.json names the file
    assert pipe.config.no_label is True
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    images = pipe(torch.tensor([1, 2]), 2, generator=generators).images
    assert (len(images), images[0].size, images[0].mode) == (2, (8, 8), "L")
    (again,) = pipe([1, 2], 2, 1.5, [torch.Generator().manual_seed(i) for i in range(2)], "np", return_dict=False)
    assert again.shape == (2, 8, 8, 1)
    assert abs(again[0, 0, 0, 0] * 255 - images[0].getpixel((0, 0))) <= 0.51
    back = load_run(import_diffusers(out, tmp_path / "back"))
    for name, value in load_run(directory).denoiser.state_dict().items():
        assert torch.equal(value, back.denoiser.state_dict()[name])
    assert back.num_classes == 10


def test_what_was_never_trained_without_labels_is_not_guided(untrained, load, tmp_path):
    pipe = load(export_diffusers(untrained(SMALL, "loss.label_dropout=0"), tmp_path / "out"))
    assert len(pipe([4], 2).images) == 1
    with pytest.raises(ValueError, match="guidance_scale must be 1: this network was not trained without labels"):
        pipe([4], 2, guidance_scale=2.0)


@pytest.mark.parametrize("classes", [pytest.param((), marks=pytest.mark.slow), ("model.num_classes=null",)])
def test_the_example_of_the_card_runs(classes, untrained, load, tmp_path, monkeypatch):
    """In few steps without noise that is left: what DDPMScheduler adds last."""
    out = export_diffusers(untrained(SMALL, *classes), tmp_path / "out")
    (example,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    monkeypatch.chdir(out)
    names = {}
    exec(example, names)
    assert len(names["images"]) == 4
    assert Image.open("image.png").size == (8, 8)
