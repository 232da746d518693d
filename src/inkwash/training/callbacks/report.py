"""Write the run's page while it trains."""

import copy
import logging
import time
from collections.abc import Callable
from typing import Any

import lightning as L

from inkwash.autoencoders.base import Autoencoder
from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.reports import drawings, schedule_curves
from inkwash.reports.config_diff import from_defaults
from inkwash.reports.run_files import RunFiles
from inkwash.reports.run_report import write_run_report
from inkwash.training.callbacks.evaluation import Evaluation
from inkwash.training.callbacks.generation import autoencoder_of
from inkwash.training.callbacks.heldout_loss import HeldoutLoss
from inkwash.training.callbacks.periodic import Periodic, run_directory
from inkwash.training.callbacks.sample_grid import SampleGrid
from inkwash.training.module import DiffusionModule

log = logging.getLogger(__name__)


class Report(Periodic):
    """Writes report.html in the run directory after the first step, and when a grid was drawn or a metric measured.

    Rank 0 writes it. It never stops a training: what fails is logged, once. The command writes the page again at the
    end of the job, with its outcome.

    Args:
        share: the largest share of the time that the page may take; if it is written more rarely than there is news,
            the next one has it all.
        search: number of training images up to which the nearest one of each sample is looked for, at the end; 0 for
            never.
    """

    def __init__(self, share: float = 0.02, search: int = 100_000):
        super().__init__(every_n_steps=1)
        if not 0 < share <= 1 or search < 0:
            raise UserError(f"callbacks.report: share={share} must be above 0, 1 at most; search={search} not negative")
        self.share, self.search = share, search
        self._written, self._cost, self._begun, self._failed = float("-inf"), 0.0, False, False
        self._news: list[Any] = []  # the callbacks that make it
        self.seconds = 0.0  # that all pages have taken

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._news = _of(trainer, SampleGrid, Evaluation, HeldoutLoss)

    def due(self, trainer: L.Trainer) -> bool:
        """Return whether something that the page shows is new."""
        step = trainer.global_step
        return not self._begun or step == trainer.max_steps or any(callback.ran_at(step) for callback in self._news)

    def run(self, trainer: L.Trainer, module: DiffusionModule) -> None:
        begins, self._begun = not self._begun, True
        if not trainer.is_global_zero:
            return
        if begins:  # not before the first step, which people wait for
            self._attempt(lambda: _draw_inputs(trainer, module))
        last, start = trainer.global_step == trainer.max_steps, time.perf_counter()
        for grid in _of(trainer, SampleGrid):
            if grid.ran_at(trainer.global_step):
                self._attempt(lambda grid=grid: _draw_samples(trainer, grid, self.search if last else 0))
        if start - self._written >= self._cost / self.share or last:
            self._attempt(lambda: write_run_report(run_directory(trainer)))
            self._written = time.perf_counter()
            self._cost = 0.0 if begins else self._written - start  # of the first, most is imports
        self.seconds += time.perf_counter() - start

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            if not self._failed:
                log.warning("report       cannot be written: %s: %s", type(error).__name__, error)
            self._failed = True


def _of(trainer: L.Trainer, *kinds: type) -> list[Any]:
    """List the trainer's callbacks of some classes."""
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return [callback for callback in callbacks if isinstance(callback, kinds)]


def _draw_samples(trainer: L.Trainer, grid: SampleGrid, search: int) -> None:
    """Draw the reverse process of a grid, and of its first row what is nearest in up to `search` training images."""
    if grid.way is None or grid.images is None:  # the early row
        return
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    folder, way, step = run_directory(trainer).report_folder, grid.way, trainer.global_step
    folder.mkdir(exist_ok=True)
    drawings.save_way(folder / "reverse.png", way.schedule, way.times, way.x_t, way.x_0, step)
    if drawings.may_search(data.train, search):
        drawings.draw_nearest(folder / "nearest.png", grid.images[: grid.columns], data.train, data.flip, step)


def _draw_inputs(trainer: L.Trainer, module: DiffusionModule) -> None:
    """Draw what does not change while a run trains: its images, forward process, schedule and configuration."""
    run = run_directory(trainer)
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    draw_inputs(RunFiles(run), module, data.train, autoencoder_of(trainer))
    from_defaults(RunFiles(run))


def draw_inputs(files: RunFiles, module: Any, train: Any, autoencoder: Autoencoder | None = None) -> None:
    """Draw into report/ what a run has before its first step.

    Args:
        module: with the denoiser and the loss of the run.
        train: the training images.
        autoencoder: of a run on latents.
    """
    folder, config = files.run.report_folder, files.config
    folder.mkdir(exist_ok=True)
    schedule = copy.deepcopy(module.denoiser.schedule).cpu()
    drawings.draw_forward(folder / "forward.png", schedule, drawings.some_images(train), autoencoder)
    if module.num_classes is not None:
        drawings.draw_classes(folder / "real.png", train, module.num_classes)
    write_json(folder / "schedules.json", schedule_numbers(files, module, schedule, config))


def schedule_numbers(files: RunFiles, module: Any, schedule: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of the section `Schedule` for a run."""
    from inkwash.config.instantiate import build

    name = str((files.record.get("choices") or {}).get("schedule", "this run's"))
    loss = copy.deepcopy(module.loss).cpu()
    sampling = build(config["spacing"])(schedule)
    return schedule_curves.curves(
        name, config, schedule, module.denoiser.prediction, loss.times, getattr(loss, "weighting", None), sampling
    )
