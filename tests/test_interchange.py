"""Export to diffusers' pipelines and bare weights, and import from them, judged by diffusers itself."""

import inspect
import json
import resource
import shutil
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
from inkwash.interop import scheduler
from inkwash.interop.pipeline import export_diffusers, export_safetensors, import_diffusers
from inkwash.interop.unet_config import unet2d_config
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.config_file import OF_THE_LAUNCH
from inkwash.runs.directory import RunDirectory
from inkwash.runs.resume_check import forbidden
from inkwash.training.build import build_module

UNCONDITIONAL = ("data.shape=[3,8,8]", "model.num_classes=null", "sampler=ancestral")
LEARNED = (
    "model.learn_variance=true",
    "loss=hybrid",
    "sampler.variance._target_=inkwash.process.variances.LearnedRange",
)
UNET_FILE = "unet/config.json"
SCHEDULER = "scheduler/scheduler_config.json"
UNET = unet2d_config(shape=[3, 8, 8], channels=32, channel_mult=[1, 2], num_res_blocks=1, attention_resolutions=[])


@pytest.fixture
def untrained(tmp_path, compose_config):
    """untrained(*overrides): a run directory whose checkpoint holds random weights, another set for the average."""

    def make(*overrides: str, name: str = "run"):
        directory = tmp_path / name
        config = {k: v for k, v in compose_config(*overrides).items() if k not in OF_THE_LAUNCH}
        module = build_module(config)
        generator = torch.Generator().manual_seed(0)
        for p in module.parameters():
            p.data = 0.1 * torch.randn(p.shape, generator=generator)
        (directory / "checkpoints").mkdir(parents=True)
        RunDirectory(directory).write_config(config)
        torch.save({"state_dict": module.state_dict(), "global_step": 7}, directory / "checkpoints" / "last.ckpt")
        return directory

    return make


@pytest.fixture
def pipeline(tmp_path):
    """pipeline(scheduler={...}, **unet): a folder written by save_pretrained, and the pipeline."""

    def make(scheduler=(), **unet):
        torch.manual_seed(0)
        pipe = DDPMPipeline(UNet2DModel(**UNET | unet).eval(), DDPMScheduler(**dict(scheduler)))
        pipe.save_pretrained(tmp_path / "theirs")
        return tmp_path / "theirs", pipe

    return make


def edit(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def images(n=2, channels=3, seed=1):
    return torch.randn(n, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def networks_differ_by(run, unet, t=(3, 900), **labels):
    """Largest difference of our network's outputs and theirs, for images at two times."""
    x, y = images(channels=run.shape[0]), labels.get("class_labels")
    time = torch.tensor(t)
    ours = run.denoiser.net(x, time.float(), None if y is None else torch.where(y == run.num_classes, -1, y))
    with torch.no_grad():
        return (ours - unet.eval()(x, time, **labels).sample).abs().max().item()


# --- Out --------------------------------------------------------------------------------------------------------------


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


STEPS = {
    "eps": ("schedule=linear", "prediction=eps", "spacing=leading"),
    "x0": ("schedule=cosine", "prediction=x0", "sampler.clip=null"),
    "v": ("schedule=quadratic", "prediction=v", "sampler.variance._target_=inkwash.process.variances.FixedSmall"),
    "zero terminal SNR": ("schedule=linear", "schedule.zero_terminal_snr=true", "prediction=v"),
    "listed betas": ("schedule=cosine", "schedule.betas.s=0.02", "prediction=v", "sampler.clip=0.8"),
    "learned variance": (*LEARNED, "schedule=cosine", "prediction=eps"),
}


@pytest.mark.parametrize("overrides", STEPS.values(), ids=STEPS)
def test_a_step_is_the_same_there_and_back(overrides, untrained, tmp_path):
    """A step of the exported scheduler is our ancestral one, on the same noise; and importing undoes exporting."""
    directory = untrained(*UNCONDITIONAL, *overrides, "spacing.steps=null")
    run, out = load_run(directory), export_diffusers(directory, tmp_path / "out")
    pipe, sampler = DDPMPipeline.from_pretrained(out), build(run.config["sampler"])
    x, z = images(), images(seed=2)
    for t in (999, 500, 100):
        output = pipe.unet(x, t).sample.detach()
        theirs = pipe.scheduler.step(output, t, x, generator=torch.Generator().manual_seed(2)).prev_sample
        torch.testing.assert_close(one_step(sampler, run.denoiser, x, t + 1, z), theirs, rtol=1e-5, atol=1e-5)
    back = load_run(import_diffusers(out, tmp_path / "back"))
    assert back.denoiser.state_dict().keys() == run.denoiser.state_dict().keys()
    assert all(
        torch.equal(value, back.denoiser.state_dict()[name]) for name, value in run.denoiser.state_dict().items()
    )
    assert torch.equal(back.denoiser.schedule.betas, run.denoiser.schedule.betas)
    assert all(back.config[key] == run.config[key] for key in ("model", "prediction", "sampler", "spacing"))


def one_step(sampler, denoiser, x, t, z):
    """Our step from time t to t - 1 with noise z, by the sampler's own loop."""
    sampler.spacing = lambda schedule: torch.tensor([t, t - 1], dtype=torch.float64)
    noises = iter([x, z])
    return sampler(denoiser, lambda: next(noises))


def test_learned_variances_need_twice_the_channels(untrained, tmp_path):
    out = export_diffusers(untrained(*UNCONDITIONAL, *LEARNED), tmp_path / "out")
    unet, scheduler = (json.loads((out / part).read_text()) for part in ("unet/config.json", SCHEDULER))
    assert (unet["in_channels"], unet["out_channels"], scheduler["variance_type"]) == (3, 6, "learned_range")


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        (("schedule=linear",), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
        (("schedule=linear", "schedule.betas.scale_with_T=true"), {"beta_schedule": "linear"}),
        (
            ("schedule=quadratic", "schedule.betas.beta_end=0.015"),
            {"beta_schedule": "scaled_linear", "beta_end": 0.015},
        ),
        (("schedule=cosine",), {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": False}),
        (("schedule=cosine", "schedule.zero_terminal_snr=true"), {"rescale_betas_zero_snr": True}),
        (
            ("sampler=ddim", "sampler.clip=0.9", "spacing=linspace"),
            {"clip_sample_range": 0.9, "timestep_spacing": "linspace"},
        ),
        (("sampler=ddim", "sampler.clip=null"), {"clip_sample": False, "variance_type": "fixed_large"}),
    ],
)
def test_names_of_theirs_are_used_where_they_exist(overrides, fields, untrained, tmp_path):
    out = export_diffusers(untrained(*UNCONDITIONAL, *overrides), tmp_path / "out")
    scheduler = json.loads((out / SCHEDULER).read_text())
    assert fields.items() <= scheduler.items()
    assert scheduler["trained_betas"] is None


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


# --- In ---------------------------------------------------------------------------------------------------------------

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
def test_weights_that_are_none_are_named(found, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "theirs")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(found, folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"unet/diffusion_pytorch_model.bin.* no weight.*: download it again"):
        import_diffusers(folder, tmp_path / "new")


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


def test_classes_must_be_told_of_what_is_not_our_own(untrained, pipeline, tmp_path):
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
    "change",
    [
        {"num_train_timesteps": 100}, {"beta_schedule": "sigmoid"}, {"prediction_type": "flow"}, {"thresholding": True},
        {"variance_type": "fixed_large_log"}, {"variance_type": "learned_range"}, {"timestep_spacing": "log"},
        {"steps_offset": 1}, {"trained_betas": [0.1, 0.2]}, {"novelty": True},
    ],
    ids=str,
)  # fmt: skip
def test_schedulers_we_cannot_represent_are_refused_by_name(change):
    with pytest.raises(UserError, match=f"^{next(iter(change))}"):
        scheduler.overrides(change, learn_variance=False)


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


def test_we_know_what_a_missing_field_means():
    theirs = {name: p.default for name, p in inspect.signature(DDPMScheduler).parameters.items()}
    assert theirs == scheduler.DEFAULTS


# --- The commands -----------------------------------------------------------------------------------------------------


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
