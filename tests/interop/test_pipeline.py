"""Export to diffusers' pipelines and bare weights, and import from them, compared with diffusers itself."""

import json
import resource
import subprocess
import sys

import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from hydra.core.global_hydra import GlobalHydra
from safetensors import safe_open

from inkwash.commands import export, import_pipeline
from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.interop.pipeline import export_diffusers, export_safetensors, import_diffusers
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory
from inkwash.runs.resume_check import forbidden
from support.interop import LEARNED, SCHEDULER, UNCONDITIONAL, UNET_FILE, edit, images, one_step


def networks_differ_by(run, unet, t=(3, 900), **labels):
    """Largest difference of our network's outputs and theirs, for images at two times."""
    x, y = images(channels=run.shape[0]), labels.get("class_labels")
    time = torch.tensor(t)
    ours = run.denoiser.net(x, time.float(), None if y is None else torch.where(y == run.num_classes, -1, y))
    with torch.no_grad():
        return (ours - unet.eval()(x, time, **labels).sample).abs().max().item()


def test_diffusers_loads_an_export_and_computes_the_same(untrained, tmp_path):
    directory = untrained(*UNCONDITIONAL)
    pipe = DDPMPipeline.from_pretrained(export_diffusers(directory, tmp_path / "out"))
    assert networks_differ_by(load_run(directory), pipe.unet) < 1e-5
    assert networks_differ_by(load_run(directory, weights="raw"), pipe.unet) > 0.01
    raw = DDPMPipeline.from_pretrained(export_diffusers(directory, tmp_path / "raw", weights="raw"))
    assert networks_differ_by(load_run(directory, weights="raw"), raw.unet) < 1e-5
    assert pipe(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)


def test_classes_are_exported_with_one_for_no_label(untrained, tmp_path):
    directory = untrained()
    unet = UNet2DModel.from_pretrained(export_diffusers(directory, tmp_path / "out"), subfolder="unet")
    assert unet.config.num_class_embeds == 11
    assert networks_differ_by(load_run(directory), unet, class_labels=torch.tensor([4, 10])) < 1e-5


def test_learned_variances_need_twice_the_channels(untrained, tmp_path):
    out = export_diffusers(untrained(*UNCONDITIONAL, *LEARNED), tmp_path / "out")
    unet, scheduler = (json.loads((out / part).read_text()) for part in ("unet/config.json", SCHEDULER))
    assert (unet["in_channels"], unet["out_channels"], scheduler["variance_type"]) == (3, 6, "learned_range")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("schedule=flow",), "schedule: FlowSchedule has no counterpart"),
        (("schedule.betas.T=500",), "schedule.betas.T=500 has no counterpart"),
        (("prediction=edm",), "prediction=edm has no counterpart"),
        (("model.patch_size=2",), "model.patch_size=2 has no counterpart"),
    ],
)
def test_what_diffusers_cannot_express_is_refused(overrides, message, untrained, tmp_path):
    directory = untrained(*UNCONDITIONAL, *overrides)
    with pytest.raises(UserError, match=message):
        export_diffusers(directory, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_networks_are_for_safetensors_only(untrained, tmp_path):
    directory = untrained("~model", "+model={_target_: torch.nn.Linear, in_features: 1, out_features: 1}")
    with pytest.raises(UserError, match="model: Linear has no counterpart in diffusers' DDPM: use format=safetensors"):
        export_diffusers(directory, tmp_path / "out")
    assert export_safetensors(directory, tmp_path / "net.safetensors").exists()


def test_bare_weights_carry_their_configuration(untrained, tmp_path):
    directory = untrained("model.patch_size=2", "schedule=flow")
    with safe_open(export_safetensors(directory, tmp_path / "a" / "net.safetensors"), "pt") as file:
        state, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    config = json.loads(about["config"])
    assert config == RunDirectory(directory).config
    assert (about["weights"], about["step"]) == ("ema", "7")
    net = build(config["model"])
    net.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in load_run(directory).denoiser.net.state_dict().items())


def test_nothing_is_overwritten(untrained, pipeline, tmp_path):
    directory = untrained(*UNCONDITIONAL)
    for write in (export_diffusers, export_safetensors):
        with pytest.raises(UserError, match="out=.* exists already"):
            write(directory, tmp_path)
    with pytest.raises(UserError, match="run=run: .* exists already"):
        import_diffusers(pipeline()[0], directory)


def test_what_cannot_be_written_whole_leaves_nothing(untrained, tmp_path):
    directory = untrained(*UNCONDITIONAL)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (export_diffusers, export_safetensors):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(UserError, match=r"cannot be written .*: free some space"):
                write(directory, tmp_path / "out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_saved_pipeline_becomes_a_run(pipeline, tmp_path):
    folder, pipe = pipeline({"variance_type": "fixed_small", "prediction_type": "v_prediction"}, attention_head_dim=8)
    run = load_run(import_diffusers(folder, tmp_path / "runs" / "theirs"))
    assert networks_differ_by(run, pipe.unet) < 1e-5
    for name, value in load_run(tmp_path / "runs" / "theirs", weights="raw").denoiser.state_dict().items():
        assert torch.equal(value, run.denoiser.state_dict()[name])
    sampler = build(run.config["sampler"])
    x, z = images(), images(seed=2)
    output = pipe.unet(x, 500).sample.detach()
    theirs = pipe.scheduler.step(output, 500, x, generator=torch.Generator().manual_seed(2)).prev_sample
    torch.testing.assert_close(one_step(sampler, run.denoiser, x, 501, z), theirs, rtol=1e-5, atol=1e-5)


def test_their_cifar10_trains_on_as_our_recipe(pipeline, compose_config, tmp_path):
    """The published network is conf/experiment/cifar10.yaml's, so the recipe may go on from it."""
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]}
    up = {"up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]}
    narrow = {"block_out_channels": [32, 64, 64, 64], "layers_per_block": 2, "downsample_padding": 0, "sample_size": 32}
    folder, _ = pipeline({"variance_type": "fixed_large"}, **blocks, **up, **narrow, dropout=0.1)
    config = RunDirectory(import_diffusers(folder, tmp_path / "run")).config
    recipe = compose_config("experiment=cifar10", "data.path=x", "model.channels=32")
    assert forbidden(config, recipe, step=0) is None


def test_num_classes_must_be_given_for_files_of_others(untrained, pipeline, tmp_path):
    ours = import_diffusers(export_diffusers(untrained(), tmp_path / "out"), tmp_path / "back")
    assert load_run(ours).num_classes == RunDirectory(ours).config["data"]["num_classes"] == 10
    folder, pipe = pipeline(num_class_embeds=6)
    with pytest.raises(UserError, match="num_class_embeds=6: if the last one stands for no label, pass num_classes=5"):
        import_diffusers(folder, tmp_path / "a")
    with pytest.raises(UserError, match="num_classes=6 does not fit num_class_embeds=6"):
        import_diffusers(folder, tmp_path / "a", num_classes=6)
    run = load_run(import_diffusers(folder, tmp_path / "a", num_classes=5))
    assert networks_differ_by(run, pipe.unet, class_labels=torch.tensor([2, 5])) < 1e-5


def test_folders_without_subfolders_and_pickled_weights(pipeline, tmp_path):
    """As the first published pipelines are."""
    folder, pipe = pipeline()
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (folder / "unet" / "config.json", folder / SCHEDULER):
        (flat / file.name).write_bytes(file.read_bytes())
    torch.save(pipe.unet.state_dict(), flat / "diffusion_pytorch_model.bin")
    assert networks_differ_by(load_run(import_diffusers(flat, tmp_path / "run")), pipe.unet) < 1e-5


def test_an_import_trains_on(untrained, tmp_path, compose_config):
    """From step 0 and from its weights, with an optimizer that has seen nothing."""
    out = export_diffusers(untrained("model.channels=32"), tmp_path / "out")
    back = import_diffusers(out, tmp_path / "back")
    model = RunDirectory(back).config["model"]
    quick = (
        "debug=fast",
        "logger=csv",
        "trainer=cpu",
        "trainer.max_steps=1",
        "optimizer.lr=1e-30",
        "~callbacks.evaluation",
    )
    config = compose_config(*quick, "~callbacks.best")
    RunDirectory(back).write_config({k: v for k, v in config.items() if k not in OF_THE_LAUNCH} | {"model": model})
    trainer, module = train(back)
    assert trainer.global_step == 1
    for name, value in load_run(tmp_path / "run").denoiser.net.state_dict().items():
        torch.testing.assert_close(module.denoiser.net.state_dict()[name], value)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (SCHEDULER, {"steps_offset": 1}),
        (SCHEDULER, {"_class_name": "PNDMScheduler"}),
        (UNET_FILE, {"freq_shift": 0}),
        (UNET_FILE, {"act_fn": "mish"}),
    ],
)
def test_refusals_name_the_file_and_leave_nothing(file, change, pipeline, tmp_path):
    folder, _ = pipeline()
    edit(folder / file, **change)
    with pytest.raises(UserError, match=f"{file}: {next(iter(change))}=.* cannot be represented"):
        import_diffusers(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("unet/config.json", None, "is not a diffusers pipeline: it has no unet/config.json"),
        ("unet/config.json", b"{", "unet/config.json is not readable JSON"),
        ("unet/diffusion_pytorch_model.safetensors", b"x" * 20, "is not a readable safetensors file"),
        (
            "unet/diffusion_pytorch_model.safetensors",
            None,
            "unet has no weights: diffusion_pytorch_model.safetensors is missing",
        ),
    ],
)
def test_damaged_folders_are_refused(file, content, message, pipeline, tmp_path):
    folder, _ = pipeline()
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        import_diffusers(folder, tmp_path / "run")


def test_commands_do_what_they_say(untrained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    untrained("model.channels=32", name="runs/a")
    for main, *arguments in ((export.main, "run=a", "out=out"), (import_pipeline.main, "folder=out", "run=b")):
        monkeypatch.setattr(sys, "argv", ["inkwash", *arguments])
        main()
        GlobalHydra.instance().clear()
    told = (
        "out    ema weights of runs/a/checkpoints/last.ckpt",
        "runs/b    next: make sample run=runs/b num_images=64",
    )
    assert tuple(capsys.readouterr().out.splitlines()) == told
    assert load_run("runs/b").num_classes == 10
    assert json.loads((tmp_path / "runs" / "b" / "run.json").read_text())["imported"] == "out"


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("export", ("run=nope", "out=x"), "error: run=nope is not a run directory"),
        ("importing", ("folder=nope", "run=a b"), "error: run=a b must be letters"),
        ("importing", ("run=a",), "error: folder has no value yet"),
    ],
)
def test_mistakes_end_in_one_sentence(module, arguments, message, tmp_path):
    line = [sys.executable, "-m", f"inkwash.{module}", *arguments]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
