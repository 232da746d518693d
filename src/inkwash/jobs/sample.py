"""Sample: what the process of a sampling job runs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from inkwash.config.instantiate import build
from inkwash.data.files import NamedImages, read_images
from inkwash.data.rendering import Rendering
from inkwash.editing.perform import batches, perform
from inkwash.editing.tasks import Task
from inkwash.errors import UserError
from inkwash.guidance import ClassifierFree
from inkwash.guidance_scale import DEFAULT_SCALE, at_a_time
from inkwash.images import ImageSplit
from inkwash.jobs.sample_results import SampleResults
from inkwash.random import generator
from inkwash.reports.progress_bar import progress_bar
from inkwash.run import Run, load_run
from inkwash.runs import config_file
from inkwash.runs.directory import RunDirectory
from inkwash.samplers.generate import labels_for
from inkwash.samplers.trajectory import Trajectory
from inkwash.training.micro_batches import enough_memory
from inkwash.training.precision import autocast
from inkwash.training.threads import set_threads_to_draw
from inkwash.training.trainer import resolve_device

FRAMES = 24  # of a trajectory, to twice as many


def sample(directory: Path) -> None:
    """Generate the images of directory/sample.yaml, and write them as they come, with a grid of the first."""
    config = config_file.load(directory / "sample.yaml")
    run = load_run(config["run"], config["checkpoint"], config["weights"])
    set_threads_to_draw(config["trainer"]["threads"], 1)
    task, sampler, guide = (build(config[key]) for key in ("task", "sampler", "guide"))
    scale = config["guidance"]
    if issubclass(guide.func, ClassifierFree):
        scale = run.scale(scale)
    elif scale is None:  # autoguidance needs no labels
        scale = DEFAULT_SCALE
    denoiser = guide(run.denoiser, scale)
    size = config["batch_size"] or at_a_time(run.micro_batch, scale if issubclass(guide.func, ClassifierFree) else 1)
    x_0, y = choose_inputs(run, task, config["num_images"], config["label"], RunDirectory(config["run"]).classes)
    device = resolve_device(config["trainer"]["accelerator"])
    run.prepare(sampler, device)
    precision = run.precision(config["trainer"]["precision"], device)
    results = SampleResults(directory, config, run, task)
    if results.done:
        print(f"going on: {results.done} of {len(x_0)} rows are there")
    way = None
    if config["trajectory"] and not results.done:  # else that of the first images is there
        way = Trajectory(run.denoiser.schedule, config["trajectory"], FRAMES, run.decode)
    steps = len(task.spacing(sampler)(run.denoiser.schedule)) - 1
    steps *= len(batches(task, len(x_0), size, results.done))
    with (
        enough_memory(size),
        autocast(precision, device),
        progress_bar(total=steps, desc=f"drawing {(len(x_0) - results.done) * task.width} images", unit="steps") as bar,
    ):
        for indices, rows in perform(
            task,
            denoiser.to(device),
            sampler,
            x_0,
            y,
            config["seed"],
            size,
            device,
            bar.update,
            results.done,
            way,
            run.autoencoder,
        ):
            if way is not None and not way.finished:
                results.add_way(way, rows.cpu())
            results.add(indices, rows.cpu())
    results.finish({"steps": len(sampler.spacing(run.denoiser.schedule)) - 1, "guidance": scale})
    if config["tracking"] is not None:
        tracker, pictures = build(config["tracking"]), [directory / "grid.png"]
        tracker(directory, "sampling", config, Path(config["run"]), [config["checkpoint"]], pictures=pictures)


class Rows:
    """The images that rows start from: `inputs` images a row, from a split, read when they are asked for.

    If there are fewer images than rows, they are repeated, each time with other noise.

    Args:
        split: the images.
        order: indices of those to take.
        count: number of rows.
        inputs: images of a row.
    """

    def __init__(self, split: ImageSplit | NamedImages, order: Sequence[int], count: int, inputs: int):
        self.split, self.order, self.inputs = split, order, inputs
        self.shape = (count, inputs, *split.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        """Return uint8 (n, inputs, C, H, W)."""
        start, stop, _ = rows.indices(len(self))
        chosen = [self.order[i % len(self.order)] for i in range(start * self.inputs, stop * self.inputs)]
        return self.split.__getitems__(chosen)[0].view(stop - start, *self.shape[1:])

    def labels(self) -> Tensor:
        """Return the labels of all rows, (count, inputs)."""
        order = torch.as_tensor(self.order)[torch.arange(len(self) * self.inputs) % len(self.order)]
        return self.split.labels[order].view(len(self), self.inputs)


def choose_inputs(
    run: Run, task: Task, count: int, label: int | None, classes: Sequence[str] = ()
) -> tuple[Tensor | Rows, Tensor | None]:
    """Return the images that `count` rows start from, and their labels.

    Args:
        label: of all rows; None for those of the images, or every class in turn.
        classes: names of the run's classes, if they have any.

    Returns:
        uint8 (count, task.inputs, C, H, W), of which slices are read, and (count, max(task.inputs, 1)) or None for a
        run without classes.

    Raises:
        UserError: the run does not know the label.
    """
    if label is not None and (run.num_classes is None or not 0 <= label < run.num_classes):
        raise UserError(f"label={label}: this run was trained with model.num_classes={run.num_classes}")
    if task.inputs == 0:
        images = torch.empty(count, 0, *run.shape, dtype=torch.uint8)
        y = labels_for(range(count), run.num_classes)
    else:
        needed = count * task.inputs
        known = classes if label is None and run.num_classes is not None else None
        if task.images:
            source, order = named_images(task.images, run, needed, known)
            task.take_sizes(source.sizes)
        else:
            source, order = heldout_images(run, needed)
        images = Rows(source, order, count, task.inputs)
        y = images.labels()
    if run.num_classes is None:
        return images, None
    assert y is not None
    return images, (y if label is None else torch.full_like(y, label)).view(count, -1)


def named_images(name: str, run: Run, count: int, classes: Sequence[str] | None) -> tuple[NamedImages, Sequence[int]]:
    """Return the first `count` images that the user names, and their indices.

    Args:
        classes: names of the run's classes; None if the images' own labels are not used.

    Raises:
        UserError: a label is not one of the run's.
    """
    source = run.config["data"].get("source") or {}
    rendering = Rendering(**{key: source.get(key) for key in ("black", "white", "background")})
    images = read_images(name, run.shape, count, classes or (), classes is not None, rendering)
    most = run.num_classes or 0
    if classes is not None and len(images.labels) and int(images.labels.max()) >= most:
        raise UserError(
            f"task.images={name} has labels up to {int(images.labels.max())}, and the run those below {most}: pass "
            "label=0, for one, for all images"
        )
    return images, range(len(images))


def heldout_images(run: Run, count: int) -> tuple[ImageSplit, Sequence[int]]:
    """Return the held-out images of the run's data, and the indices of `count` in a fixed random order: classes mix.

    Raises:
        UserError: the data cannot be loaded.
    """
    try:
        heldout = build(run.config["data"]).heldout
    except UserError as error:
        raise UserError(f"the run's own images cannot be loaded ({error}): pass task.images=...") from error
    return heldout, torch.randperm(len(heldout), generator=generator("inputs"))[:count].tolist()
