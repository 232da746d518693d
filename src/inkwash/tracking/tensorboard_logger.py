"""Log a training to event files of TensorBoard."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from inkwash.tracking.open_loggers import flat

# Columns of the tab of hyper-parameters, beside the configuration.
RESULTS = ("train/loss", "heldout/loss")


class TensorBoard(Logger):
    """Logger of event files in tensorboard/ of the run directory: `tensorboard --logdir runs` shows every run.

    A resumed run goes on in the same folder, and TensorBoard drops the points of the steps that it repeats. Each row is
    written at once, so that a kill loses none.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: str):
        super().__init__()
        self.path = Path(directory, "tensorboard")
        self._writer: Any = None
        self._purge_step: int | None = None

    @property
    def name(self) -> str:
        return "tensorboard"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The SummaryWriter of torch.utils.tensorboard."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second, and may not be installed

            self._writer = SummaryWriter(str(self.path), purge_step=self._purge_step)
        return self._writer

    def forget_after(self, step: int) -> None:
        """Have TensorBoard drop the points of later steps, which a resumed run repeats."""
        self._purge_step = step + 1

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(flat(params), dict.fromkeys(RESULTS, 0.0)):
            self.experiment.file_writer.add_summary(summary)
        self.experiment.flush()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)
        self.experiment.flush()

    @rank_zero_only
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Send a picture (3, height, width), uint8."""
        self.experiment.add_image(name, picture, step)
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._writer is not None:
            self._writer.close()
