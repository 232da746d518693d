"""Every YAML of conf/ composes, instantiates, and sets only what its target takes."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from inkwash.commands.auto_data import with_stand_ins
from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.config.signatures import check_arguments
from inkwash.errors import UserError
from inkwash.training.build import build_module
from inkwash.training.module import DiffusionModule

CONF = Path(config_dir())


CHOICES = sorted((p.parent.name, p.stem) for p in CONF.glob("*/*.yaml"))


# What a choice needs beside it.
ALONG = {
    ("data", "parquet"): ("data.path=x", "data.shape=[3,16,16]"),
    ("data", "folder"): ("data.path=x", "data.shape=[3,16,16]"),
    ("data", "hf"): ("data.path=x", "data.shape=[3,16,16]"),
    ("data", "parquet_stream"): ("data.path=x", "data.shape=[3,16,16]"),
    ("data", "webdataset"): ("data.path=x", "data.shape=[3,16,16]"),
    ("model", "unet_cifar10"): ("data.shape=[3,32,32]",),
    ("model", "dit_mnist"): ("data.shape=[1,28,28]",),
    ("model", "jit_b16"): ("data.shape=[3,256,256]",),
    ("model", "jit_l16"): ("data.shape=[3,256,256]",),
    ("model", "ddpmpp_cifar10"): ("data.shape=[3,32,32]",),
    ("model", "ncsnpp_cifar10"): ("data.shape=[3,32,32]",),
    ("model", "edm2_cifar10"): ("data.shape=[3,32,32]",),
    **{("model", f"edm2_{size}"): ("data.shape=[3,64,64]",) for size in ("xxs", "xs", "s", "m", "l", "xl", "xxl")},
    ("schedule", "flow"): ("prediction=v",),
    ("spacing", "linspace"): ("sampler=ancestral",),
    ("guide", "auto"): ("~guide.bad", "+guide.bad={_target_: torch.nn.Identity}"),  # in place of a run
}


# Recipes, what Hydra builds (test_sweep.py), and what needs files (tests/autoencoders/test_pretrained.py).
NOT_BUILT = ("experiment", "debug", "logger", "sweeper", "launcher", "autoencoder")


def groups_of(command):
    """The groups in a command's list of defaults."""
    lines = (CONF / f"{command}.yaml").read_text().splitlines()
    return {line.split()[1].rstrip(":") for line in lines if line.startswith("  - ") and ": " in line} - {"override"}


# The commands and what they need.
COMMANDS = {"train": (), "sample": ("run=x",), "evaluate": ("run=x",)}


# The first command that offers a group composes its choices.
COMMAND_OF = {group: command for command in reversed(COMMANDS) for group in groups_of(command)}


def test_the_groups_are_those_of_the_defaults():
    assert {group for group, _ in CHOICES} == set.union(*(groups_of(command) for command in COMMANDS))


def test_the_overview_lists_every_choice():
    page = (CONF.parent / "docs" / "reference" / "conf.md").read_text()
    assert [choice for group, choice in CHOICES if group != "experiment" and f"`{choice}`" not in page] == []


def test_every_file_gives_its_target_what_it_takes():
    for path in sorted(CONF.rglob("*.yaml")):
        node = OmegaConf.load(path)
        if path.parent.name == "data":
            node = with_stand_ins(OmegaConf.create({"data": node})).data
        check_arguments(OmegaConf.to_container(node), str(path.relative_to(CONF)))


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c[0] not in NOT_BUILT])
def test_every_choice_instantiates(group, choice, compose_config, monkeypatch):
    command = COMMAND_OF[group]
    along = (*COMMANDS[command], *ALONG.get((group, choice), ()))
    config = compose_config(f"{group}={choice}", *along, config_name=command)
    devices, nodes = (config["trainer"].get(key, 1) for key in ("devices", "num_nodes"))
    local, nodes = 1 if devices == "auto" else devices, 1 if nodes == "auto" else nodes
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    monkeypatch.setenv("WORLD_SIZE", str(local * nodes))
    if group == "trainer":
        if config["trainer"]["accelerator"] == "gpu" and not torch.cuda.is_available():
            with pytest.raises(Exception, match=r"No supported gpu backend|GPU"):
                build(config["trainer"])
        else:
            assert build(config["trainer"]).max_steps == config["trainer"]["max_steps"]
    elif group == "callbacks":
        assert all(build(node) for node in config["callbacks"].values())
    else:
        with torch.device("meta" if group == "model" else "cpu"):
            assert instantiate(config[group], _convert_="all") is not None


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "logger"])
def test_loggers_instantiate(choice, compose_config, tmp_path):
    (tmp_path / "run.json").write_text('{"id": "abc", "sweep": null}')
    config = compose_config(f"logger={choice}")
    assert all(build(node, directory=str(tmp_path)) for node in config["logger"].values())


SCHEDULES, PREDICTIONS = ([c for g, c in CHOICES if g == group] for group in ("schedule", "prediction"))


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_pair_builds_or_is_refused(schedule, prediction, compose_config):
    config = compose_config(f"schedule={schedule}", f"prediction={prediction}", "model.channels=8")
    refusal = None
    if (schedule, prediction) == ("flow", "eps"):
        refusal = "ill-posed"
    elif prediction == "mu" and "betas" not in config["schedule"]:
        refusal = "prediction=mu needs a chain of whole steps"
    elif (schedule, prediction) == ("edm", "v"):
        refusal = "prediction=v with weighting=uniform"
    if refusal:
        with pytest.raises(UserError, match=refusal):
            build_module(config)
    else:
        assert isinstance(build_module(config), DiffusionModule)


def test_sigma_data_is_the_same_in_edms_three_parts(compose_config):
    """Three functions of EDM's need it, and must agree."""
    edm = ("schedule=edm", "prediction=edm", "weighting=edm", "schedule.sigma_data=0.3")
    config = compose_config(*edm)
    assert [config[key]["sigma_data"] for key in ("schedule", "prediction", "weighting")] == [0.3, 0.3, 0.3]
    assert compose_config("prediction=edm")["prediction"]["sigma_data"] == 0.5


# What makes a recipe small besides model.channels=16, and what it needs.
SMALL = {
    "edm_cifar10": ("model.num_res_blocks=1", "spacing.steps=2"),
    "edm2_cifar10": ("model.num_res_blocks=1", "model.head_dim=16", "spacing.steps=2"),
    "edm2_in64": ("data.path=x", "model.num_res_blocks=1", "model.head_dim=16", "spacing.steps=2"),
    "ect_cifar10": ("model.num_res_blocks=1",),
    "ect_digits": ("model.depth=2",),
    "meanflow_cifar10": ("model.num_res_blocks=1",),
    "meanflow_digits": ("model.depth=2",),
}
DEAR = ("edm2_in64", "ect_cifar10", "meanflow_cifar10")
EXPERIMENTS = [c for g, c in CHOICES if g == "experiment"]


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    "experiment", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in EXPERIMENTS]
)
def test_every_experiment_runs(experiment, fit_run, compose_config, monkeypatch):
    """A few steps of the whole recipe, on made-up images of its shape, judged by a made-up classifier."""
    from inkwash.metrics.extractors import classifier

    monkeypatch.setattr(classifier, "STEPS", 5)
    more = SMALL.get(experiment, ())
    classes = compose_config(f"experiment={experiment}", *more)["data"]["num_classes"]
    source = ("~data.source", "+data.source={_target_: support.parts.Pictures, n: 40}", f"data.num_classes={classes}")
    steps = ("trainer.max_steps=2", "callbacks.evaluation.every_n_steps=2", "data.batch_size=8", *more)
    narrow = {
        **dict.fromkeys(("jit", "ect_digits", "meanflow_digits"), "model.width=24"),
        "autoencoder": "model.channels=[8,16]",
    }.get(experiment, "model.channels=16")
    directory, trainer, module = fit_run(
        experiment, f"experiment={experiment}", *source, *steps, narrow, "extractor=classifier"
    )
    assert trainer.global_step == 2
    assert module.scores["fd_classifier_8"] >= 0
    assert (directory / "samples" / "step-00000002.png").exists()


@pytest.mark.slow
def test_tuning_from_nothing_is_told(fit_run, caplog):
    caplog.set_level("WARNING", "inkwash")
    fit_run("none", "schedule=edm", "prediction=edm", "loss=consistency", "trainer.max_steps=1", "model.channels=8")
    assert "ConsistencyLoss tunes a trained network, and this one starts from random weights" in caplog.text


def test_cifar10_recipe_is_ho_et_als(compose_config):
    config = compose_config("experiment=cifar10")
    assert config["trainer"]["max_steps"] == 800_000
    assert (config["data"]["batch_size"], config["data"]["flip"]) == (128, True)
    assert (config["optimizer"]["lr"], config["learning_rate"]["warmup_steps"]) == (2e-4, 5000)
    assert (config["ema"]["decay"], config["model"]["dropout"]) == (0.9999, 0.1)
    assert config["weighting"]["_target_"].endswith("Uniform")
    with torch.device("meta"):
        net = instantiate(config["model"], _convert_="all")
    assert sum(p.numel() for p in net.parameters()) == 35_746_307


def test_edm_recipe_is_edms(compose_config):
    """Half-life 0.5 million images, warm-up 10, length 200."""
    config = compose_config("experiment=edm_cifar10")
    images = config["data"]["batch_size"]
    assert (images, config["data"]["flip"], config["augment"]["p"]) == (512, False, 0.12)
    assert (config["optimizer"]["lr"], config["optimizer"]["betas"]) == (1e-3, [0.9, 0.999])
    assert (config["times"]["mean"], config["times"]["std"]) == (-1.2, 1.2)
    assert config["ema"]["decay"] ** (500_000 / images) == pytest.approx(0.5, abs=1e-3)
    assert config["learning_rate"]["warmup_steps"] * images == pytest.approx(10e6, abs=images)
    assert config["trainer"]["max_steps"] * images == 200e6
    with torch.device("meta"):
        net = instantiate(config["model"], _convert_="all")
    assert sum(p.numel() for p in net.parameters()) == 55_733_891


def test_edm2_recipe_is_edm2s(compose_config):
    """A warm-up of 10 million images, 2^30 in all, an average of relative width 0.075."""
    config = compose_config("experiment=edm2_in64", "data.path=x")
    images, law = config["data"]["batch_size"], config["learning_rate"]
    assert (images, config["optimizer"]["lr"], config["optimizer"]["betas"]) == (2048, 0.01, [0.9, 0.99])
    assert (law["reference_steps"], law["warmup_steps"] * images) == (35_000, pytest.approx(10e6, abs=images))
    assert config["trainer"]["max_steps"] * images == 2**30
    gamma = config["ema"]["exponent"] - 1
    assert math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) == pytest.approx(0.075, abs=1e-5)
