"""Show the progress of a training in one line."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from inkwash.errors import UserError


class Progress(L.Callback):
    """Progress bar over optimizer steps, with loss, images per second, the latest metrics and the time left.

    In a terminal it redraws itself; in a log file it writes a line every `log_seconds`.

    Args:
        log_seconds: time between two lines of a log file, in seconds.
    """

    def __init__(self, log_seconds: float = 15.0):
        if log_seconds < 0:
            raise UserError(f"callbacks.progress.log_seconds={log_seconds} must not be negative")
        self.log_seconds = log_seconds
        self.bar: tqdm | None = None

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2 if terminal else self.log_seconds,
            miniters=1,
            maxinterval=float("inf"),  # no monitor thread that redraws on its own
            bar_format="{desc} {percentage:3.0f}% {bar:20} {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
            file=sys.stderr if terminal else _Lines(),
        )

    @rank_zero_only
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self.bar is not None
        done = trainer.global_step - self.bar.n
        if done <= 0:
            return
        if latest := pl_module.latest:
            scores = [f"{name} {value:.3g}" for name, value in pl_module.scores.items()]
            text = [f"loss {latest['train/loss']:.4f}", f"{latest['train/images_per_second']:.0f} images/s", *scores]
            self.bar.set_postfix_str(", ".join(text), refresh=False)
        self.bar.update(done)

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class _Lines:
    """Text stream to stderr that ends each redraw of the bar with a newline, for logs."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n"):
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()
