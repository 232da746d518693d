"""Export to diffusers' pipelines and bare weights, and import from them, compared with diffusers itself."""

import json
import resource
import subprocess
import sys

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from hydra.core.global_hydra import GlobalHydra
from safetensors import safe_open

from inkwash.commands import export, import_pipeline
from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.interop.pipeline import export_diffusers, export_safetensors
from inkwash.interop.pipeline_import import import_diffusers
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory
from inkwash.runs.resume_check import forbidden
from support.in_process import Commands
from support.interop import EXAMPLE, LEARNED, SCHEDULER, UNCONDITIONAL, UNET_FILE, edit, images, one_step
from support.selection import mostly_slow


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
        (("schedule=vp",), "schedule: VPSchedule has no counterpart"),
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_num_classes_must_be_given_for_files_of_others(untrained, pipeline, tmp_path):
    ours = import_diffusers(export_diffusers(untrained(), tmp_path / "out"), tmp_path / "back")
    assert load_run(ours).num_classes == RunDirectory(ours).config["data"]["num_classes"] == 10
    folder, pipe = pipeline(num_class_embeds=6)
    either = "num_class_embeds=6: if the last one stands for no label, pass num_classes=5; if it is a class .*=6"
    with pytest.raises(UserError, match=either):
        import_diffusers(folder, tmp_path / "a")
    for wrong in (4, 7):
        with pytest.raises(UserError, match=f"num_classes={wrong} does not fit num_class_embeds=6"):
            import_diffusers(folder, tmp_path / "a", num_classes=wrong)
    run = load_run(import_diffusers(folder, tmp_path / "a", num_classes=5))
    assert networks_differ_by(run, pipe.unet, class_labels=torch.tensor([2, 5])) < 1e-5


def test_classes_without_one_for_no_label(pipeline, tmp_path):
    """All embeddings are classes: there is no guidance, and no label may be missing, in sampling or in training."""
    folder, pipe = pipeline(num_class_embeds=6)
    directory = import_diffusers(folder, tmp_path / "a", num_classes=6)
    run = load_run(directory)
    assert networks_differ_by(run, pipe.unet, class_labels=torch.tensor([2, 5])) < 1e-5
    assert (run.num_classes, run.scale(None)) == (6, 1.0)
    with pytest.raises(UserError, match="guidance=2 needs a network that was also trained without labels"):
        run.scale(2.0)
    with pytest.raises(UserError, match="has no embedding for images without a label"):
        run.denoiser.net(images(), torch.tensor([3.0, 4.0]), torch.tensor([1, -1]))
    out = export_diffusers(directory, tmp_path / "out")
    unet = UNet2DModel.from_pretrained(out, subfolder="unet")
    assert networks_differ_by(run, unet, class_labels=torch.tensor([2, 5])) < 1e-5
    assert load_run(import_diffusers(out, tmp_path / "b")).num_classes == 6


def test_folders_without_subfolders_and_pickled_weights(pipeline, tmp_path):
    """As the first published pipelines are."""
    folder, pipe = pipeline()
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (folder / "unet" / "config.json", folder / SCHEDULER):
        (flat / file.name).write_bytes(file.read_bytes())
    torch.save(pipe.unet.state_dict(), flat / "diffusion_pytorch_model.bin")
    assert networks_differ_by(load_run(import_diffusers(flat, tmp_path / "run")), pipe.unet) < 1e-5


@pytest.mark.slow
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
        (UNET_FILE, {"center_input_sample": True}),
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


@pytest.mark.slow
def test_the_command_lists_before_it_sends_and_knows_its_folder_again(untrained, tmp_path):
    untrained("model.channels=32", name="runs/a")
    command = Commands(tmp_path)
    for _ in range(2):  # as with dry=false after dry=true: what is there is taken
        ended = command("export", "run=a", "out=out", "push=me/it")
        assert ended.code == 0, ended.text
        assert "README.md" in ended.text
        assert "dry=true: nothing was sent. dry=false sends " in ended.text
    assert command("export", "run=a", "out=out").error.endswith("exists already: choose another name or delete it")
    for arguments, message in {
        ("push=me/it", "weights=raw"): "exists already: choose another name or delete it",
        ("push=it",): "push=it must be user/name, the repository on the Hugging Face hub",
        (
            "push=me/it",
            "format=safetensors",
        ): "use format=diffusers, onnx or torch_export",
        ("format=gif",): "format=gif must be diffusers, safetensors, onnx or torch_export",
    }.items():
        assert command("export", "run=a", "out=out", *arguments).error.endswith(message)


@pytest.mark.sampled(every=3)
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


# --- What diffusers' own example trains -------------------------------------------------------------------------------


def pipeline_of(folder, scheduler=(), **unet):
    """A folder written by save_pretrained, and the pipeline, of a network that is nowhere zero."""
    torch.manual_seed(0)
    net = UNet2DModel(**unet).eval()
    for p in net.parameters():
        p.data += 0.02 * torch.randn(p.shape)
    pipe = DDPMPipeline(net, DDPMScheduler(**dict(scheduler)))
    pipe.save_pretrained(folder)
    return pipe


def assert_equal_steps(run, pipe, side):
    """One step of both samplers at some times, from the same images and noise, is the same to 1e-5.

    Their tables are taken in float64: in float32 the first steps of a long chain are only right to 1e-3.
    """
    sampler, last = build(run.config["sampler"]), pipe.scheduler.config.num_train_timesteps - 1
    pipe.scheduler.set_timesteps(last + 1)
    pipe.scheduler.alphas_cumprod = torch.cumprod(1 - pipe.scheduler.betas.double(), 0)
    x, z = (torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    for t in (last, last // 2, max(1, last // 10)):
        with torch.no_grad():
            output = pipe.unet(x, torch.tensor(t)).sample
            ours = run.denoiser.net(x, run.denoiser.schedule.time_input(torch.tensor([t + 1.0, t + 1.0])))
            assert (ours - output).abs().max() < 1e-5
            theirs = pipe.scheduler.step(output, t, x, generator=torch.Generator().manual_seed(2)).prev_sample
        torch.testing.assert_close(one_step(sampler, run.denoiser, x, t + 1, z), theirs, rtol=1e-5, atol=1e-5)


SCHEDULERS = {
    "the example": {},
    "50 steps (diffusers#2263)": {"num_train_timesteps": 50, "beta_schedule": "squaredcos_cap_v2"},
    "4000 steps": {"num_train_timesteps": 4000, "beta_schedule": "linear", "prediction_type": "sample"},
    "500 steps, v": {"num_train_timesteps": 500, "prediction_type": "v_prediction", "beta_schedule": "scaled_linear"},
    "sigmoid": {"num_train_timesteps": 100, "beta_schedule": "sigmoid", "beta_end": 0.2},
    "laplace": {"beta_schedule": "laplace", "timestep_spacing": "trailing"},
    "listed": {"num_train_timesteps": 3, "trained_betas": [0.1, 0.5, 0.9], "rescale_betas_zero_snr": True,
               "prediction_type": "v_prediction"},
}  # fmt: skip


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("scheduler", mostly_slow(SCHEDULERS, "laplace", "listed"))
def test_what_the_example_trains_comes_in_and_goes_out(scheduler, tmp_path):
    """train_unconditional.py of diffusers with its --ddpm_num_steps, --ddpm_beta_schedule and --prediction_type."""
    small = EXAMPLE | {"sample_size": 8, "block_out_channels": (32, 64), "layers_per_block": 1}
    small |= {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    pipe = pipeline_of(tmp_path / "theirs", scheduler, **small)
    directory = import_diffusers(tmp_path / "theirs", tmp_path / "run")
    assert_equal_steps(load_run(directory), pipe, 8)
    back = DDPMPipeline.from_pretrained(export_diffusers(directory, tmp_path / "back"))
    for name, value in pipe.unet.state_dict().items():
        assert torch.equal(back.unet.state_dict()[name], value), name
    torch.testing.assert_close(back.scheduler.betas, pipe.scheduler.betas, rtol=1e-5, atol=1e-7)
    assert back.scheduler.config.num_train_timesteps == pipe.scheduler.config.num_train_timesteps
    assert back(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)


@pytest.mark.slow
def test_the_example_as_deep_as_it_is(tmp_path):
    pipe = pipeline_of(tmp_path / "theirs", **EXAMPLE)
    assert_equal_steps(load_run(import_diffusers(tmp_path / "theirs", tmp_path / "run")), pipe, 64)


@pytest.mark.slow
def test_the_example_as_wide_as_it_is(tmp_path):
    """113,673,219 parameters."""
    pipe = pipeline_of(tmp_path / "theirs", **EXAMPLE | {"block_out_channels": (128, 128, 256, 256, 512, 512)})
    assert sum(p.numel() for p in pipe.unet.parameters()) == 113_673_219
    assert_equal_steps(load_run(import_diffusers(tmp_path / "theirs", tmp_path / "run")), pipe, 64)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("steps", [100, 4000])
def test_a_run_of_ours_of_other_than_1000_steps_goes_out(steps, untrained, tmp_path):
    """Its network is given the index stretched to 0..1000, so the pipeline has a table of its time embeddings."""
    directory = untrained(*UNCONDITIONAL, f"schedule.betas.T={steps}", "spacing.steps=null")
    run, out = load_run(directory), export_diffusers(directory, tmp_path / "out")
    pipe = DDPMPipeline.from_pretrained(out)
    assert_equal_steps(run, pipe, 8)
    assert pipe(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)
    back = load_run(import_diffusers(out, tmp_path / "back"))
    assert back.config["model"] == run.config["model"]
    assert back.config["schedule"] == run.config["schedule"]
    edit(out / UNET_FILE, freq_shift=0)
    with pytest.raises(
        UserError, match=r"time_proj.weight cannot be represented: time_embedding_type=learned is known"
    ):
        import_diffusers(out, tmp_path / "other")
