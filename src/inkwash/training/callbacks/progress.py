"""Show the progress of a training in one line."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from inkwash.errors import UserError
from inkwash.reports.progress_bar import pace

BAR = 20  # letters of the bar, at most
LEAST_BAR = 4
ROWS = 24  # tqdm draws nothing in a terminal that says it has none, and those without a size do
TRAINING = "training"


class Progress(L.Callback):
    """Progress bar over optimizer steps, with loss, images per second, the latest metrics and the time left.

    In a terminal it redraws itself and fits the width; while a grid is drawn or a metric measured, it says so. In a log
    file it writes a line every `log_seconds`.

    Args:
        log_seconds: time between two lines of a log file, in seconds.
    """

    def __init__(self, log_seconds: float = 15.0):
        if log_seconds < 0:
            raise UserError(f"callbacks.progress.log_seconds={log_seconds} must not be negative")
        self.log_seconds = log_seconds
        self.bar: tqdm | None = None
        self._terminal = False
        self._texts: list[str] = []

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc=TRAINING,
            unit="step",
            ncols=self._columns(),
            nrows=ROWS,
            bar_format=line_format(self._columns(), trainer.max_steps, TRAINING, ()),
            **pace(self._terminal, self.log_seconds),
        )

    @rank_zero_only
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self.bar is not None
        done = trainer.global_step - self.bar.n
        if done <= 0:
            return
        if latest := pl_module.latest:
            scores = [f"{name} {value:.3g}" for name, value in pl_module.scores.items()]
            loss, speed = latest["train/loss"], latest["train/images_per_second"]
            self._texts = [f"loss {loss:.4f}", f"{speed:.0f} images/s", *scores]
        self._lay_out(TRAINING)
        self.bar.update(done)

    def show_activity(self, activity: str | None) -> None:
        """Say what is done between two steps, `drawing` for example; None when the training goes on.

        A log file has a line of it only after the last step, where nothing else would tell that the job goes on.
        """
        if self.bar is not None and (self._terminal or self.bar.n == self.bar.total):
            self._lay_out(activity or TRAINING)
            if activity is not None:  # else the next step draws the line
                self.bar.refresh()

    def leave_out(self, seconds: float) -> None:
        """Leave the seconds that have just passed out of the estimate of the time left."""
        if self.bar is not None:
            self.bar.start_t += seconds
            self.bar.last_print_t += seconds

    def _lay_out(self, activity: str) -> None:
        assert self.bar is not None
        self.bar.set_description_str(activity, refresh=False)
        self.bar.ncols = self._columns()
        self.bar.bar_format = line_format(self.bar.ncols, int(self.bar.total), activity, self._texts)

    def _columns(self) -> int | None:
        """Return the columns to draw in, None for a log file: some terminals begin a new line in their last one."""
        try:
            return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1 if self._terminal else None
        except OSError:  # a stream that says it is a terminal
            return 79

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def line_format(width: int | None, total: int, activity: str, texts: Sequence[str]) -> str:
    """Return tqdm's format of a line: steps and time left, as many texts as fit, a bar in the room that is left.

    Args:
        width: columns to draw in; None for room for everything.
        total: number of steps.
        activity: what the line begins with.
        texts: what else is known, the most important first.
    """
    if width is None:
        return _format(BAR, " steps", texts)
    room = width - len(f"{activity} 100% {total}/{total}, 99:59:59 left")
    steps = " steps" if room >= len(" steps") + len(", ".join(["", *texts[:1]])) else ""
    room -= len(steps)
    shown: list[str] = []
    while len(shown) < len(texts) and len(texts[len(shown)]) + 2 <= room:
        room -= len(texts[len(shown)]) + 2
        shown.append(texts[len(shown)])
    return _format(min(BAR, room - 1), steps, shown)


def _format(bar: int, steps: str, texts: Sequence[str]) -> str:
    drawn = f" {{bar:{bar}}}" if bar >= LEAST_BAR else ""
    told = "".join(f", {text}" for text in texts)
    return f"{{desc}} {{percentage:3.0f}}%{drawn} {{n_fmt}}/{{total_fmt}}{steps}, {{remaining}} left{told}"
