"""Exports of runs on latents: a pipeline that decodes, files whose card and metadata say what their latents are."""

import json
import re

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import dynamic_modules_utils
from diffusers.utils.torch_utils import randn_tensor
from safetensors import safe_open

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.guidance_scale import guided
from inkwash.interop import hub
from inkwash.interop.formats import FILES, export
from inkwash.interop.latents import latents_of
from inkwash.interop.pipeline_import import import_diffusers
from inkwash.jobs.image_sources import pipeline_images
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.training.build import build_autoencoder
from support.autoencoders import save_kl, save_tiny
from support.selection import mostly_slow

UNET, DIT = ("model.channels=32",), ("model=dit_digits", "model.width=32", "model.depth=2", "model.num_heads=2")
FLOW = ("schedule=flow", "prediction=flow", "sampler=euler", "spacing=linspace")
BLOCKS = "autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]}"
RUNS = {
    "U-Net": (*UNET, "sampler=ancestral", "autoencoder.std=0.7"),
    "without classes": (*UNET, "sampler=ancestral", "model.num_classes=null"),
    "flow": (*UNET, *FLOW),
    "transformer": (*DIT, "model.patch_size=1", "sampler=ancestral"),
    "transformer, flow": (*DIT, "model.patch_size=1", *FLOW),
    "tiny": (*UNET, "sampler=ancestral"),
}


@pytest.fixture
def on_latents(untrained, tmp_path):
    """on_latents(kind, *overrides): a run with random weights, whose latents have some mean and deviation."""

    def make(kind: str, *overrides: str):
        (save_tiny if kind == "tiny" else save_kl)(tmp_path / "vae")
        path = f"autoencoder.path={tmp_path / 'vae'}"
        directory = untrained(f"autoencoder={kind}", path, *overrides)
        return normalised(directory, mean=[0.3, -0.2], dev=[0.7, 1.4])

    return make


def normalised(directory, **values):
    """Put a normalisation into the checkpoint."""
    file, autoencoder = directory / "checkpoints" / "last.ckpt", build_autoencoder(RunDirectory(directory).config)
    assert autoencoder is not None
    latents = {"autoencoder": autoencoder.fingerprint, **(values or autoencoder.normalisation())}
    torch.save({**torch.load(file, weights_only=True), "latents": latents}, file)
    return directory


def exported(format, directory, out, **more):
    record = dict.fromkeys(("license", "repo", "sampler", "guidance", "batch")) | more
    return export(format, directory, str(out), "ema", "last.ckpt", record)


def check_what_is_sent(out):
    """Find all files of an export among those that push= sends, and none that somebody else puts there."""
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    for name in ("notes.txt", "wandb/run/last.ckpt", "vae/notes.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    assert [name for name, _ in hub.chosen(out, FILES)] == written


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a pipeline with its code, which diffusers copies to a folder of its own."""
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")

    def from_pretrained(folder):
        pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(folder), trust_remote_code=True)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return from_pretrained


@pytest.mark.parametrize("name", mostly_slow(list(RUNS), "U-Net", "transformer"))
def test_a_pipeline_draws_and_decodes_what_we_draw(name, on_latents, load, tmp_path):
    directory = on_latents("tiny" if name == "tiny" else "kl", *RUNS[name], "spacing.steps=20")
    run, out = load_run(directory), exported("diffusers", directory, tmp_path / "out")
    pipe, labels = load(out), None if run.num_classes is None else [3, 0, 9]
    options = {"batch_size": 3} if labels is None else {"class_labels": labels, "guidance_scale": 1.5}
    seed = torch.Generator().manual_seed(5)
    theirs = pipe(num_inference_steps=20, generator=seed, output_type="pt", **options).images
    draw = torch.Generator().manual_seed(5)
    denoiser = run.denoiser if labels is None else guided(run.denoiser, 1.5)
    noise = lambda: randn_tensor((3, *run.network_shape), generator=draw)  # noqa: E731
    z = build(run.config["sampler"])(denoiser, noise, None if labels is None else torch.tensor(labels))
    ours = run.decode(z)
    torch.testing.assert_close(theirs, (ours / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)
    assert theirs.std() > 0.01
    with pytest.raises(UserError, match="draws latents, which its vae/ decodes: import takes pipelines"):
        import_diffusers(out, tmp_path / "back")
    with pytest.raises(UserError, match=r"draws latents by code of its own, pipeline.py, which is not run here"):
        pipeline_images(out, run.shape, 20, 0)


def test_the_example_of_the_card_runs(on_latents, load, tmp_path, monkeypatch):
    out = exported("diffusers", on_latents("kl", *RUNS["without classes"]), tmp_path / "out")
    text = (out / "README.md").read_text()
    assert re.search(r"The network draws latents of 2 x 4 x 4 numbers, which the autoencoder AutoencoderKL vae", text)
    for file in (*out.glob("*.*"), *out.glob("*/*.json")):
        assert str(tmp_path) not in file.read_text(), file
    check_what_is_sent(out)
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(out)
    names = {}
    exec(example.replace("num_inference_steps=50", "num_inference_steps=2"), names)
    assert [image.size for image in names["images"]] == [(8, 8)] * 4


def test_weights_alone_say_what_their_latents_are(on_latents, tmp_path):
    directory = on_latents("kl", *UNET, "autoencoder.std=0.5")
    with safe_open(exported("safetensors", directory, tmp_path / "net.safetensors"), "pt") as file:
        latents = json.loads(file.metadata()["latents"])
    assert (latents["kind"], latents["name"]) == ("AutoencoderKL", "vae")
    assert latents["mean"] == pytest.approx([0.3, -0.2])
    assert latents["std"] == pytest.approx([1.4, 2.8])


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_files_for_other_programs_draw_latents(format, on_latents, tmp_path, monkeypatch):
    """The card's example ends with what the decoder takes."""
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    directory = on_latents("kl", "model.channels=8", "sampler=ddim", "spacing.steps=3")
    run = load_run(directory)
    out = exported(format, directory, tmp_path / "out", sampler=run.config["sampler"], guidance=1.0)
    (example,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    check_what_is_sent(out)
    monkeypatch.chdir(out)
    names = {}
    exec(example, names)
    noise, found = (torch.as_tensor(names["inputs"]["noise"]), torch.as_tensor(names["latents"]))
    z = build(run.config["sampler"])(run.denoiser, lambda: noise, torch.arange(4))
    assert (found.shape, z.shape) == ((4, 2, 4, 4), (4, 2, 4, 4))
    about = latents_of(run)
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (about.mean, about.std))
    torch.testing.assert_close(found, z * std + mean, rtol=1e-3, atol=1e-3)
    assert torch.equal(run.decode(z), run.autoencoder.model.decode(z * std + mean).sample.detach())


def test_what_no_pipeline_can_hold_is_refused_by_name(untrained, tmp_path):
    directory = normalised(untrained(*UNET, BLOCKS))
    with pytest.raises(UserError, match="autoencoder: Blocks has no counterpart in diffusers: use format=safetensors"):
        exported("diffusers", directory, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_autoencoder_is_no_model_of_images(untrained, tmp_path):
    run = untrained("experiment=autoencoder")
    with pytest.raises(UserError, match=r"run is an autoencoder, which draws nothing: .*autoencoder is in the format"):
        exported("diffusers", run, tmp_path / "out")
