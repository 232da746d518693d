"""What a task draws: rows, the same for the same seed at any batch size, with the labels they should have."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from inkwash.config.paths import config_dir
from inkwash.denoiser import Denoiser
from inkwash.editing.codecs import Inverting, Noising, Painter
from inkwash.editing.perform import perform
from inkwash.editing.tasks import Generate, ImageToImage, Inpaint, Interpolate, Reconstruct
from inkwash.errors import UserError
from inkwash.images import to_float
from inkwash.process.betas import cosine
from inkwash.process.predictions import V
from inkwash.process.schedules import BetaSchedule
from inkwash.process.spacing import Trailing
from inkwash.process.variances import FixedLarge
from inkwash.samplers.ancestral import Ancestral
from inkwash.samplers.base import ImageNoise
from inkwash.samplers.ddim import DDIM
from inkwash.samplers.generate import generate

PATH = BetaSchedule(cosine(1000))
SHAPE, COUNT = (1, 4, 4), 5
SAMPLER = Ancestral(Trailing(8), FixedLarge())


class Spy(nn.Module):
    """A network whose output depends on all it is given; it keeps the labels it saw."""

    def __init__(self):
        super().__init__()
        self.labels = set()

    def forward(self, x, time, y=None):
        self.labels |= {None} if y is None else set(y.tolist())
        return torch.sin(3 * x) + 0.1 * torch.cos(time / 100).view(-1, 1, 1, 1).to(x)


TASKS = {
    "generate": Generate(),
    "inpaint": Inpaint("left", 2, 3),
    "img2img": ImageToImage(0.5),
    "interpolate": Interpolate(Inverting, 1.0, 3),
    "interpolate, noising": Interpolate(Noising, 0.5, 3),
    "reconstruct": Reconstruct(1.0),
}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def inputs(task, count=COUNT):
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, task.inputs, *SHAPE), generator=generator, dtype=torch.uint8)


def rows(task, x_0=None, sampler=SAMPLER, **options):
    x_0 = inputs(task) if x_0 is None else x_0
    return torch.cat([part for _, part in perform(task, Denoiser(Spy(), PATH, V()), sampler, x_0, **options)])


# --- All of them ------------------------------------------------------------------------------------------------------


def test_every_choice_of_the_menu_is_tested_here(compose_config):
    conf = Path(config_dir()) / "task"
    kinds = {
        type(instantiate(compose_config(f"task={path.stem}", "run=x", config_name="sample")["task"], _convert_="all"))
        for path in conf.glob("*.yaml")
    }
    assert kinds == {type(task) for task in TASKS.values()}


@every_task
def test_a_row_is_the_same_again_and_at_any_batch_size(task):
    whole = rows(task)
    assert torch.equal(rows(task), whole)
    assert torch.equal(rows(task, batch_size=2), whole)
    assert whole.shape[0] == COUNT
    assert whole[:, task.results].shape[1] == task.width


@every_task
def test_the_seed_and_the_index_name_the_noise(task):
    """Where noise is drawn: rows of the same input differ from each other, and from seed to seed."""
    x_0 = inputs(task)[:1].expand(COUNT, *inputs(task).shape[1:])
    whole = rows(task, x_0)[:, task.results]
    drawn = not isinstance(getattr(task, "codec", None), Inverting)
    assert torch.equal(whole[0], whole[1]) is not drawn
    assert torch.equal(rows(task, x_0, seed=1)[:, task.results], whole) is not drawn


@every_task
def test_rows_begin_with_their_inputs(task):
    x_0, found = inputs(task), rows(task)
    if task.inputs > 0:
        assert torch.equal(found[:, 0], x_0[:, 0])
    if task.inputs == 2:
        assert torch.equal(found[:, -1], x_0[:, 1])


@every_task
@pytest.mark.parametrize("batch_size", [2, 100])
def test_steps_are_as_many_as_announced(task, batch_size):
    calls = []
    rows(task, batch_size=batch_size, on_step=lambda: calls.append(1))
    batches = -(-COUNT // max(1, batch_size // task.width))
    assert len(calls) == (len(task.spacing(SAMPLER)(PATH)) - 1) * batches


@every_task
def test_labels_reach_the_network(task):
    """The rows' own; none where a row has two that differ, and none for a network without classes."""
    for y, wanted in (
        (torch.full((COUNT, max(task.inputs, 1)), 3), {3}),
        (torch.tensor([[7, 8][: max(task.inputs, 1)]] * COUNT), {7} if task.inputs < 2 else {-1}),
        (None, {None}),
    ):
        denoiser = Denoiser(Spy(), PATH, V())
        list(perform(task, denoiser, SAMPLER, inputs(task), y))
        assert denoiser.net.labels == wanted


def test_images_that_are_not_numbers_are_refused():
    class Broken(nn.Module):
        def forward(self, x, time, y=None):
            return x / 0

    with pytest.raises(UserError, match="5 of 5 images are not numbers"):
        list(perform(TASKS["reconstruct"], Denoiser(Broken(), PATH, V()), SAMPLER, inputs(TASKS["reconstruct"])))


# --- Each of them -----------------------------------------------------------------------------------------------------


def test_generate_draws_the_images_of_the_series():
    """The same as grids and metrics show during training."""
    batches = generate(Denoiser(Spy(), PATH, V()), SAMPLER, SHAPE, range(COUNT), None, seed=3)
    assert torch.equal(rows(Generate(), seed=3)[:, 0], torch.cat([images for _, images in batches]))


def test_inpainting_keeps_what_is_known_and_hides_the_rest():
    found = rows(TASKS["inpaint"])
    image, masked, painted = found.unbind(1)
    assert torch.equal(painted[..., 2:], image[..., 2:])
    assert torch.equal(masked[..., 2:], image[..., 2:])
    assert (masked[..., :2] == 128).all()
    assert not torch.equal(painted[..., :2], image[..., :2])


def test_strength_one_forgets_the_image():
    assert torch.equal(rows(ImageToImage(1.0))[:, 2], rows(Generate())[:, 0])


@pytest.mark.parametrize(
    ("task", "alone"),
    [(TASKS["interpolate"], TASKS["reconstruct"]), (TASKS["interpolate, noising"], TASKS["img2img"])],
    ids=["inverting", "noising"],
)
def test_ends_of_an_interpolation_are_round_trips(task, alone):
    pairs = inputs(task)
    found = rows(task, pairs)
    for end, frame in ((0, 1), (1, -2)):
        assert torch.equal(found[:, frame], rows(alone, pairs[:, end : end + 1])[:, 2])
    assert not torch.equal(found[:, 2], found[:, 1])


def test_with_more_steps_its_ends_come_to_the_images():
    pairs = inputs(TASKS["interpolate"])
    errors = []
    for steps in (50, 200, 800):
        found = rows(TASKS["interpolate"], pairs, DDIM(Trailing(steps)))
        errors.append((found[:, [1, -2]].int() - pairs.int()).abs().float().mean().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_the_report_is_the_error_in_levels():
    found = torch.full((2, 3, *SHAPE), 100, dtype=torch.uint8)
    assert Reconstruct(1.0).report(Reconstruct(1.0).sums(found)) == {"rmse_levels": 0.0}
    found[0, 2] += 3
    found[1, 2] -= 1
    assert Reconstruct(1.0).report(Reconstruct(1.0).sums(found)) == {"rmse_levels": pytest.approx(5**0.5)}
    assert ImageToImage(0.5).report(ImageToImage(0.5).sums(found)) == {}


def test_a_rows_frames_share_their_noise():
    """So two images that are one give frames that are one."""
    x_0 = inputs(TASKS["interpolate, noising"])
    x_0[:, 1] = x_0[:, 0]
    frames = rows(TASKS["interpolate, noising"], x_0)[:, 1:-1]
    assert (frames == frames[:, :1]).all()
    assert not torch.equal(frames[0], frames[1])


def test_a_task_sees_pixels_between_minus_one_and_one():
    x_0, painter = inputs(TASKS["img2img"]), Painter(Denoiser(Spy(), PATH, V()), SAMPLER)
    found = TASKS["img2img"].row(painter, to_float(x_0), ImageNoise(0, range(COUNT), SHAPE), None)
    torch.testing.assert_close(found[:, 0], x_0[:, 0] / 127.5 - 1)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(UserError, match="task.frames=1 must be at least 2"):
        Interpolate(Noising, 0.5, 1)
    with pytest.raises(UserError, match=r"task.resamples=0 and .* must be at least 1"):
        Inpaint("left", 0, 1)
    with pytest.raises(UserError, match=r"task.strength=2 must lie"):
        ImageToImage(2)
