"""Recipes of conf/experiment/: each runs, those of papers are the papers', and say where their numbers come from."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from inkwash.config.paths import config_dir
from support.autoencoders import save_kl

FOLDER = Path(config_dir()) / "experiment"
EXPERIMENTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TEXTS = {name: (FOLDER / f"{name}.yaml").read_text("utf-8") for name in EXPERIMENTS}

# What makes a network small, by its class.
NARROW = {
    "DiT": ("model.width=32", "model.num_heads=2", "model.depth=2"),
    "EDM2UNet": ("model.channels=16", "model.num_res_blocks=1", "model.head_dim=16"),
    "KLNetwork": ("model.channels=[8,16]",),
    "SongUNet": ("model.channels=16", "model.num_res_blocks=1"),
    "UNet": ("model.channels=16", "model.num_res_blocks=1"),
}
# A U-Net and a transformer run in the quick suite.
QUICK = ("ect_digits", "meanflow_digits")


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory):
    """A folder with an autoencoder that makes images of three channels half as large."""
    folder = tmp_path_factory.mktemp("kl")
    save_kl(folder, channels=3)
    return folder


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory):
    """A folder that says the shape of Stable Diffusion's latents: 8 times smaller, 4 channels."""
    return of_shape(tmp_path_factory.mktemp("sd"), levels=4, channels=4)


def of_shape(folder, levels, channels):
    """Write the config.json of an autoencoder with so many levels and latent channels; return its folder."""
    config = {"_class_name": "AutoencoderKL", "block_out_channels": [32] * levels, "latent_channels": channels}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def needed(name, autoencoder):
    """Return the overrides that a recipe asks for: the places of its files."""
    text = TEXTS[name]
    data = ("data.path=x",) if "override /data: folder" in text else ()
    return (*data, f"autoencoder.path={autoencoder}") if "override /autoencoder: kl" in text else data


def small(config):
    """Return the overrides that make a recipe's network and images small."""
    model, shape = config["model"], config["data"]["shape"]
    images = ("data.shape=[3,32,32]",) if max(shape) > 64 else ()
    context = ("model.context_start=1",) if model.get("context_tokens") else ()
    network = NARROW[model["_target_"].rpartition(".")[2]]
    return (*network, *images, *context, "spacing.steps=2", "compile=false")  # compiling takes minutes


@pytest.fixture
def run_small(fit_run, compose_config, monkeypatch, autoencoder):
    """run_small(name, *overrides): two steps of a recipe on made-up images, judged by a made-up classifier."""
    from inkwash.metrics.extractors import classifier

    monkeypatch.setattr(classifier, "STEPS", 5)

    def run(name, *overrides):
        given = (f"experiment={name}", *needed(name, autoencoder), *overrides)
        config = compose_config(*given)
        classes = config["data"]["num_classes"] or "null"
        source = ("~data.source", "+data.source={_target_: support.parts.Pictures, n: 40}")
        steps = ("trainer.max_steps=2", "callbacks.evaluation.every_n_steps=2", "data.batch_size=8")
        more = (f"data.num_classes={classes}", *steps, *small(config), "extractor=classifier")
        return fit_run(name, *given, *source, *more)

    return run


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in EXPERIMENTS])
def test_every_experiment_runs(name, run_small):
    directory, trainer, module = run_small(name)
    assert trainer.global_step == 2
    assert module.scores["fd_classifier_8"] >= 0
    assert (directory / "samples" / "step-00000002.png").exists()


# --- Headers ----------------------------------------------------------------------------------------------------------


def header(name):
    """Return the lines of the comment at the top of a recipe."""
    lines = TEXTS[name].splitlines()[1:]
    return [line.removeprefix("#") for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")]]


def variants(name):
    """Return the lists of overrides in a header: indented lines, which end with a remark in brackets."""
    indented = [line for line in header(name) if line.startswith("   ")]
    joined = "\n".join(indented).replace("\n     ", " ")
    return [re.sub(r"\(.*\)$", "", line).split() for line in joined.splitlines() if "=" in line]


VARIANTS = [(name, line) for name in EXPERIMENTS for line in variants(name) if line[0] != "make"]


@pytest.mark.sampled(every=10)
@pytest.mark.parametrize(("name", "line"), VARIANTS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_what_a_header_says_to_pass_composes(name, line, compose_config, stable_diffusion):
    given = {key.partition("=")[0] for key in line}
    along = [override for override in needed(name, stable_diffusion) if override.partition("=")[0] not in given]
    config = compose_config(f"experiment={name}", *along, *line)
    assert config != compose_config(f"experiment={name}", *needed(name, stable_diffusion))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "line"), VARIANTS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_what_a_header_says_to_pass_runs(name, line, run_small):
    _, trainer, module = run_small(name, *line)
    assert trainer.global_step == 2
    assert module.scores["fd_classifier_8"] >= 0


def test_the_table_has_what_the_headers_say(monkeypatch):
    """Every recipe of a paper cites it, and says its score, hardware, what is measured and what differs."""
    monkeypatch.syspath_prepend(FOLDER.parents[1] / "docs")
    import recipe_table

    papers = [recipe for recipe in recipe_table.recipes() if "Published" in TEXTS[recipe.name]]
    assert len(papers) >= 15
    for recipe in papers:
        assert re.search(r"\(\w+ (et al\.|& \w+) 20\d\d\)$", recipe.title), recipe
        assert all(recipe), recipe
        assert recipe.measured == "Not measured here"
    named = {recipe.name: recipe for recipe in papers}
    assert named["lightningdit_in256"].asked == ["data.path=FOLDER", "autoencoder.path=FOLDER"]
    assert (named["ect_cifar10"].asked, named["cifar10"].asked) == (["init_from=NAME"], [])
    assert named["edm_cifar10"].published.startswith("1.97 without classes, 1.79 with them")
    assert named["edm_cifar10"].meant_for == "8 GPUs and two days"
    page = recipe_table.page()
    assert [name for name in EXPERIMENTS if f"[`{name}`]" not in page] == []


# --- Numbers ----------------------------------------------------------------------------------------------------------


def size(config):
    """Return the number of weights of a configuration's network."""
    with torch.device("meta"):
        net = instantiate(config["model"], _convert_="all")
    return sum(p.numel() for p in net.parameters())


def test_cifar10_recipe_is_ho_et_als(compose_config):
    config = compose_config("experiment=cifar10")
    assert config["trainer"]["max_steps"] == 800_000
    assert (config["data"]["batch_size"], config["data"]["flip"]) == (128, True)
    assert (config["optimizer"]["lr"], config["learning_rate"]["warmup_steps"]) == (2e-4, 5000)
    assert (config["ema"]["decay"], config["model"]["dropout"]) == (0.9999, 0.1)
    assert config["weighting"]["_target_"].endswith("Uniform")
    assert size(config) == 35_746_307


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
    assert size(config) == 55_733_891


def test_edm2_recipe_is_edm2s(compose_config):
    """A warm-up of 10 million images, 2^30 in all, an average of relative width 0.075."""
    config = compose_config("experiment=edm2_in64", "data.path=x")
    images, law = config["data"]["batch_size"], config["learning_rate"]
    assert (images, config["optimizer"]["lr"], config["optimizer"]["betas"]) == (2048, 0.01, [0.9, 0.99])
    assert (law["reference_steps"], law["warmup_steps"] * images) == (35_000, pytest.approx(10e6, abs=images))
    assert config["trainer"]["max_steps"] * images == 2**30
    gamma = config["ema"]["exponent"] - 1
    assert math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) == pytest.approx(0.075, abs=1e-5)


def test_improved_ddpm_recipe_is_nichol_and_dhariwals(compose_config):
    """Flags of the published commands; the rows of table 2 differ in objective, schedule and T."""
    config = compose_config("experiment=iddpm_cifar10")
    assert size(config) == 52_546_438
    assert config["schedule"]["betas"]["T"] == 4000
    assert (config["data"]["batch_size"], config["data"]["flip"]) == (128, False)
    assert (config["optimizer"]["lr"], config["trainer"]["max_steps"]) == (1e-4, 500_000)
    assert (config["loss"]["vlb_weight"], config["spacing"]["steps"]) == (1e-3, None)
    vlb, simple, short = (compose_config("experiment=iddpm_cifar10", *line) for line in variants("iddpm_cifar10"))
    assert (vlb["loss"]["variance"]["_target_"].rpartition(".")[2], vlb["times"]["T"]) == ("LearnedRange", 4000)
    assert (simple["schedule"]["betas"]["scale_with_T"], simple["model"]["learn_variance"]) == (True, False)
    assert simple["sampler"]["variance"] == {"_target_": "inkwash.process.variances.FixedLarge"}
    assert (short["schedule"]["betas"]["T"], short["schedule"]["betas"]["_target_"][-6:]) == (1000, "linear")


@pytest.mark.slow
def test_rectified_flow_recipe_is_liu_et_als(compose_config):
    """As many calls of the network as RK45 makes, 127, and an average that is its warm-up all the time."""
    config = compose_config("experiment=rectified_flow_cifar10")
    assert size(config) == 61_804_419
    assert 2 * config["spacing"]["steps"] - 1 == 127
    assert (config["optimizer"]["lr"], config["learning_rate"]["warmup_steps"]) == (2e-4, 5000)
    n = config["trainer"]["max_steps"]
    assert n / (9 + n) == instantiate(config["ema"])(n)


# Recipes on latents and large images: what they need, the weights of their networks, the length in images and the
# calls of the network that the papers have.
LARGE = {
    "dit_in256": ((4, 4), 674_834_720, 256 * 7_000_000, 250),
    "sit_in256": ((4, 4), 674_816_272, 256 * 7_000_000, 249),
    "min_snr_in256": ((4, 4), 674_816_272, 256 * 7_000_000, 99),
    "lightningdit_in256": ((5, 32), 674_961_824, 64 * 1_280_000, 250),
    "jit_in256": (None, 131_123_712, 600 * 1251 * 1024, 99),
}


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("name", LARGE)
def test_sizes_lengths_and_calls_are_the_papers(name, compose_config, tmp_path):
    latents, weights, images, calls = LARGE[name]
    config = compose_config(f"experiment={name}", *needed(name, latents and of_shape(tmp_path, *latents)))
    assert size(config) == weights
    assert config["trainer"]["max_steps"] * config["data"]["batch_size"] == pytest.approx(images, rel=0.01)
    steps = config["spacing"]["steps"]
    assert (2 * steps - 1 if "heun" in config["sampler"]["_target_"] else steps) == calls
    assert config["sampler"]["clip"] is None


def test_min_snr_recipe_is_hang_et_als(compose_config, stable_diffusion):
    """The weight of the squared x_0 error is min(SNR, 5), and 50 levels of EDM's lie at 50 times of the chain."""
    config = compose_config("experiment=min_snr_in256", *needed("min_snr_in256", stable_diffusion))
    schedule, weighting, prediction, spacing = (
        instantiate(config[key], _convert_="all") for key in ("schedule", "weighting", "prediction", "spacing")
    )
    alpha, sigma = schedule(torch.tensor([1, 200, 500, 999]))
    weight = weighting(alpha, sigma, prediction.det(alpha, sigma))
    torch.testing.assert_close(weight, ((alpha / sigma) ** 2).clamp(max=5))
    assert len(spacing(schedule)) == 51
    assert (config["optimizer"]["betas"], config["optimizer"]["weight_decay"]) == ([0.99, 0.99], 0.03)


def test_zero_snr_recipe_ends_in_noise_and_starts_there(compose_config):
    """Lin et al. 2023, algorithm 1 and table 2: alpha_bar_T is 0, the first time is T, v is well-posed there."""
    config = compose_config("experiment=zero_snr_cifar10")
    schedule, prediction, spacing = (
        instantiate(config[key], _convert_="all") for key in ("schedule", "prediction", "spacing")
    )
    alpha, sigma = schedule(torch.tensor([1000]))
    assert (alpha.item(), sigma.item(), spacing(schedule)[0].item()) == (0, 1, 1000)
    assert prediction.det(alpha, sigma).item() == pytest.approx(1)
    assert schedule.alpha[1].item() ** 2 == pytest.approx(1 - 1e-4)  # the first step stays


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", ["ddpm_celebahq256", "ddpm_lsun256"])
def test_large_ddpm_recipes_are_ho_et_als(name, compose_config):
    """Appendix B: 114 million weights, and 256 million of the wider network; no dropout; bedrooms are not flipped."""
    config = compose_config(f"experiment={name}", "data.path=x")
    assert size(config) == 113_673_219
    assert (config["data"]["batch_size"], config["data"]["flip"]) == (64, name == "ddpm_celebahq256")
    assert (config["optimizer"]["lr"], config["model"]["dropout"]) == (2e-5, 0)
    wide, church, cat = variants("ddpm_lsun256")[:3]
    assert size(compose_config("experiment=ddpm_lsun256", "data.path=x", *wide)) == pytest.approx(256e6, rel=0.005)
    assert (church, cat) == (
        ["data.flip=true", "trainer.max_steps=1200000"],
        ["data.flip=true", "trainer.max_steps=1800000"],
    )


def test_lightningdit_recipe_is_yao_and_wangs(compose_config, tmp_path):
    """Logit-normal times, the cosine beside the square, and sampling times with theirs, 0.3, counted from the noise."""
    folder = of_shape(tmp_path, levels=5, channels=32)
    config = compose_config("experiment=lightningdit_in256", *needed("lightningdit_in256", folder))
    assert (config["times"]["mean"], config["times"]["std"], config["model"]["patch_size"]) == (0, 1, 1)
    assert config["loss"]["distance"] == {"_target_": "inkwash.losses.distances.L2AndDirection", "weight": 1.0}
    assert 1 / config["spacing"]["shift"] == pytest.approx(0.3)
    assert (config["optimizer"]["lr"], config["optimizer"]["betas"]) == (2e-4, [0.9, 0.95])
