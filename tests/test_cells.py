"""Every schedule x prediction x sampler x weighting trains and samples finitely, or is refused by name when built.

The table of cells in experiments/cells/README.md is what this file finds: `python tests/test_cells.py` writes it anew.
"""

import copy
import itertools
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from inkwash.commands import train
from inkwash.config.instantiate import build
from inkwash.config.paths import config_dir
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.distances import L2
from inkwash.losses.simple import DiffusionLoss
from inkwash.losses.vlb import VLBLoss
from inkwash.nets.dit import DiT
from inkwash.nets.unet import UNet
from inkwash.process.times import Stratified
from inkwash.random import Draws, generator
from inkwash.samplers.base import ImageNoise

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "experiments" / "cells" / "README.md"
STEPS = 6
assert train  # its import makes the schema and the resolver known
torch.manual_seed(0)
NETS = {
    "unet": UNet((1, 4, 4), 8, [1], 1, []),
    "dit": DiT((1, 4, 4), 2, 16, 2, 2, rotary=True, qk_norm=True),
    "told": UNet((1, 4, 4), 8, [1], 1, [], time_scale=0.02, two_times=True),
}
# Losses for images in one or two steps, the network of each, and how an image is drawn in one.
FEW_STEPS = {"consistency": ("unet", "consistency"), "meanflow": ("told", "euler"), "shortcut": ("told", "euler")}


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


SCHEDULES, PREDICTIONS, SAMPLERS, WEIGHTINGS = map(choices, ("schedule", "prediction", "sampler", "weighting"))


@cache
def config(schedule: str) -> dict:
    overrides = ["debug=fast", "trainer=cpu", f"schedule={schedule}", "data.shape=[1,4,4]", f"spacing.steps={STEPS}"]
    if schedule == "cosine_shifted":
        overrides += ["schedule.image_size=64"]  # that of the images it is made for: the path depends on it
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides), resolve=True)


@cache
def part(group: str, choice: str, schedule: str):
    """A choice beside a schedule, built. Its YAML is read here: composing and building each cell would take minutes."""
    chosen = OmegaConf.load(ROOT / "conf" / group / f"{choice}.yaml")
    whole = OmegaConf.create({**config(schedule), group: chosen})
    return build(OmegaConf.to_container(whole[group], resolve=True))


@cache
def trained(
    schedule: str, prediction: str, weighting: str = "uniform", net: str = "unet", loss_name: str = ""
) -> tuple:
    """A tiny network after a few steps on smooth images, and its last loss; or the sentence that refuses the three."""
    path = part("schedule", schedule, schedule)
    try:
        denoiser = Denoiser(copy.deepcopy(NETS[net]), path, part("prediction", prediction, schedule))
        simple = DiffusionLoss(L2(), copy.deepcopy(part("weighting", weighting, schedule)), Stratified())
        loss = copy.deepcopy(part("loss", loss_name, schedule)) if loss_name else simple
        loss.check(denoiser, False)
    except UserError as error:
        return None, str(error)
    optimizer = torch.optim.Adam([*denoiser.parameters(), *loss.parameters()], lr=1e-3)
    x_0 = torch.linspace(-0.8, 0.8, 16).view(16, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    value = torch.zeros(())
    for step in range(3):
        loss.at_step(step)
        value = loss(denoiser, x_0, None, Draws([generator(0, "cells", step)])).loss.mean()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
    return denoiser.eval().requires_grad_(False), value.item()


def sampled(denoiser, schedule: str, sampler: str, steps: int = STEPS) -> str:
    """ "" when images come out finite, else the sentence that refuses the sampler."""
    try:
        draw = copy.deepcopy(part("sampler", sampler, schedule))
        draw.spacing.steps = steps
        images = draw(denoiser, ImageNoise(0, range(4), (1, 4, 4)), None)
    except UserError as error:
        return str(error)
    assert images.shape == (4, 1, 4, 4)
    assert bool(images.isfinite().all()), (schedule, sampler)
    return ""


def pairs():
    """Every schedule with every prediction; quick are some of them, in which each schedule and prediction occurs."""
    for i, j in itertools.product(range(len(SCHEDULES)), range(len(PREDICTIONS))):
        marks = [] if i % len(PREDICTIONS) == j else [pytest.mark.slow]
        yield pytest.param(SCHEDULES[i], PREDICTIONS[j], marks=marks, id=f"{SCHEDULES[i]}-{PREDICTIONS[j]}")


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(("schedule", "prediction"), pairs())
def test_every_weighting_trains_or_is_refused(schedule, prediction):
    for weighting in WEIGHTINGS:
        denoiser, found = trained(schedule, prediction, weighting)
        if denoiser is None:
            assert f"prediction={prediction}" in found or f"weighting={weighting}" in found, found
        else:
            assert torch.isfinite(torch.tensor(found)), (schedule, prediction, weighting)


@pytest.mark.sampled(every=6)
@pytest.mark.parametrize(("schedule", "prediction"), pairs())
def test_every_loss_of_few_steps_trains_and_draws_or_is_refused(schedule, prediction):
    for loss, (net, sampler) in FEW_STEPS.items():
        denoiser, found = trained(schedule, prediction, net=net, loss_name=loss)
        if denoiser is None:
            assert f"prediction={prediction}" in found or f"loss={loss}" in found, found
        else:
            assert torch.isfinite(torch.tensor(found)), (schedule, prediction, loss)
            assert sampled(denoiser, schedule, sampler, steps=1) == ""


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("net", ["unet", "dit"])
@pytest.mark.parametrize(("schedule", "prediction"), pairs())
def test_every_sampler_samples_or_is_refused(schedule, prediction, net):
    denoiser, _ = trained(schedule, prediction, net=net)
    if denoiser is None:
        return
    for sampler in SAMPLERS:
        if found := sampled(denoiser, schedule, sampler):
            assert f"sampler={sampler}" in found or "spacing" in found, found


BESIDE_VLB = {"weighting": ["uniform"], "times": ["importance", "stratified", "uniform"]}


@pytest.mark.parametrize(("group", "choice"), [(group, choice) for group in BESIDE_VLB for choice in choices(group)])
def test_the_bound_is_uniform_in_time(group, choice):
    """loss=vlb is bits per dimension, or refuses by name what would make it something else."""
    chosen = {name: OmegaConf.load(ROOT / "conf" / f"{name}.yaml") for name in (f"{group}/{choice}", "loss/vlb")}
    whole = OmegaConf.create({**config("linear"), **{name.split("/")[0]: node for name, node in chosen.items()}})
    node = OmegaConf.to_container(whole.loss, resolve=True)
    if choice in BESIDE_VLB[group]:
        assert isinstance(build(node), VLBLoss)
    else:
        name = whole[group]._target_.rpartition(".")[2]
        with pytest.raises(UserError, match=rf"^loss=vlb .*{group}={name}.*pass {group}=uniform"):
            build(node)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_cell_of_all_four():
    """Samplers see weights that each weighting trained, too."""
    for schedule, prediction, weighting in itertools.product(SCHEDULES, PREDICTIONS, WEIGHTINGS):
        denoiser, _ = trained(schedule, prediction, weighting)
        if denoiser is not None:
            for sampler in SAMPLERS:
                sampled(denoiser, schedule, sampler)


@pytest.mark.slow
def test_the_table_is_what_was_found():
    assert TABLE.read_text("utf-8") == table(), "run: python tests/test_cells.py"


def table() -> str:
    """The page of experiments/cells: one row for each schedule and prediction, one column for each sampler."""
    notes: list[str] = []

    def mark(refusal: str) -> str:
        if not refusal:
            return "yes"
        if refusal not in notes:
            notes.append(refusal)
        return f"[{notes.index(refusal) + 1}]"

    rows = []
    for schedule, prediction in itertools.product(SCHEDULES, PREDICTIONS):
        denoiser, refusal = trained(schedule, prediction)
        cells = [mark(sampled(denoiser, schedule, s) if denoiser else str(refusal)) for s in SAMPLERS]
        trains = (trained(schedule, prediction, w) for w in WEIGHTINGS)
        cells += [mark("" if denoiser else str(found)) for denoiser, found in trains]
        few = (trained(schedule, prediction, net=net, loss_name=loss) for loss, (net, _) in FEW_STEPS.items())
        cells += [mark("" if denoiser else str(found)) for denoiser, found in few]
        rows.append(f"| {schedule} | {prediction} | {' | '.join(cells)} |")
    names = [*SAMPLERS, *(f"w: {name}" for name in WEIGHTINGS), *(f"l: {name}" for name in FEW_STEPS)]
    return "\n".join(
        [
            "# What goes with what",
            "",
            "Written by `python tests/test_cells.py` and checked by the tests. A tiny network is trained for 3 steps",
            f"on each schedule x prediction x weighting, and each sampler draws from it in {STEPS} `trailing` steps.",
            "`yes`: finite images, or for a weighting (w:) or a loss (l:) a finite loss. A number: refused with that",
            "sentence. With losses that tell the network where a step ends it is one that can be told.",
            "",
            f"| schedule | prediction | {' | '.join(names)} |",
            f"|---|---|{'---|' * len(names)}",
            *rows,
            "",
            *(f"{i}. {note}" for i, note in enumerate(notes, 1)),
            "",
        ]
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table(), "utf-8")
    print(TABLE)
