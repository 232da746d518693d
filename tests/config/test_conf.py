"""Every YAML of conf/ composes, instantiates, and sets only what its target takes."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from inkwash.commands.auto_keys import with_stand_ins
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
    **{("model", f"unet_{name}"): ("data.shape=[3,32,32]",) for name in ("cifar10", "iddpm_cifar10")},
    ("model", "unet_256"): ("data.shape=[3,256,256]",),
    ("model", "dit_mnist"): ("data.shape=[1,28,28]",),
    **{("model", f"jit_{size}16"): ("data.shape=[3,256,256]",) for size in "blh"},
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


@pytest.mark.parametrize(
    ("typed", "optimizer"),
    [
        ((), "torch.optim.AdamW"),
        (("optimizer=adam",), "torch.optim.Adam"),
        (("experiment=cifar10",), "torch.optim.Adam"),
    ],
)
def test_a_network_in_parts_gets_an_optimizer_that_can(compose_config, typed, optimizer):
    """Muon, the default, needs whole matrices; what is typed, or a recipe's, wins."""
    assert compose_config("trainer=fsdp", *typed)["optimizer"]["_target_"] == optimizer


@pytest.mark.slow
def test_tuning_from_nothing_is_told(fit_run, caplog):
    caplog.set_level("WARNING", "inkwash")
    fit_run("none", "schedule=edm", "prediction=edm", "loss=consistency", "trainer.max_steps=1", "model.channels=8")
    assert "ConsistencyLoss tunes a trained network, and this one starts from random weights" in caplog.text
