"""Check that the packages of chosen loggers are installed, before a process is started for them."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from inkwash.errors import UserError

TENSORBOARD, MLFLOW = ("tensorboard", "inkwash[tensorboard]"), ("mlflow", "inkwash[mlflow]")
# _target_: (module, what pip installs)
NEEDED = {
    "inkwash.tracking.tensorboard_logger.TensorBoard": TENSORBOARD,
    "lightning.pytorch.loggers.TensorBoardLogger": TENSORBOARD,
    "inkwash.tracking.mlflow_logger.MLflow": MLFLOW,
    "lightning.pytorch.loggers.MLFlowLogger": MLFLOW,
    "lightning.pytorch.loggers.CometLogger": ("comet_ml", "comet-ml"),
    "lightning.pytorch.loggers.LitLogger": ("litlogger", "litlogger"),
}


def check_packages(loggers: Mapping[str, Any]) -> None:
    """Raise UserError for a logger whose package is not installed."""
    for name, node in loggers.items():
        module, package = NEEDED.get(node["_target_"], ("", ""))
        if module and importlib.util.find_spec(module) is None:
            raise UserError(
                f"logger.{name} needs the package {module}, which is not installed: pip install '{package}', or choose "
                "another logger=..."
            )
