"""Arguments of Lightning's Trainer in `trainer.options`: those that are passed on, and what stands for the others.

Lightning has arguments for epochs, validation loops and data loaders of its own. A training here counts optimizer
steps, and its callbacks draw, measure and save; an argument without an effect is refused by name.
"""

import ast
import difflib
import re
from collections.abc import Mapping
from typing import Any

from inkwash.config.annotations import described, fits
from inkwash.config.signatures import shown
from inkwash.errors import UserError

# Passed on to Lightning, with the type of each.
HONOURED = {
    "gradient_clip_algorithm": 'Literal["norm", "value"]',
    "max_time": "str | dict[str, int]",
    "overfit_batches": "int",
    "log_every_n_steps": "int",
    "deterministic": 'bool | Literal["warn"]',
    "benchmark": "bool",
    "detect_anomaly": "bool",
    "profiler": 'Literal["simple", "advanced", "pytorch"]',
    "sync_batchnorm": "bool",
}
EPOCHS = "pass trainer.max_steps, which counts optimizer steps; an epoch has images / data.batch_size of them"
HELDOUT = "there is no validation loop: pass callbacks.heldout.every_n_steps and callbacks.evaluation.every_n_steps"
ENDLESS = "the order of the images is endless, a function of data.seed and the step: pass trainer.max_steps"
NO_LOOP = "there is no such loop: pass `inkwash evaluate` the run"
# What to do instead of each of the others.
INSTEAD = {
    **{
        key: f"pass trainer.{key}"
        for key in (
            "accelerator", "strategy", "devices", "num_nodes", "precision", "max_steps", "accumulate_grad_batches",
            "gradient_clip_val",
        )
    },
    "logger": "choose logger=wandb, tensorboard, mlflow or csv",
    "callbacks": "choose callbacks=..., or add one with +callbacks.NAME._target_=...",
    "default_root_dir": "pass run=NAME, which is runs/NAME",
    "fast_dev_run": "choose debug=fast",
    "barebones": "leave out what costs time: ~callbacks.NAME, logger=csv",
    "max_epochs": EPOCHS,
    # Lightning waits for the end of an epoch, too, which never comes.
    "min_steps": "pass callbacks.early_stopping.patience",
    "min_epochs": EPOCHS,
    "limit_train_batches": f"{ENDLESS}, or choose debug=overfit",
    "limit_val_batches": HELDOUT,
    "val_check_interval": HELDOUT,
    "check_val_every_n_epoch": HELDOUT,
    "num_sanity_val_steps": HELDOUT,
    "limit_test_batches": NO_LOOP,
    "limit_predict_batches": NO_LOOP,
    "inference_mode": NO_LOOP,
    "use_distributed_sampler": ENDLESS,
    "reload_dataloaders_every_n_epochs": ENDLESS,
    "enable_checkpointing": "pass callbacks.checkpoint.every_n_steps, or ~callbacks.checkpoint",
    "enable_progress_bar": "pass callbacks.progress.log_seconds, or ~callbacks.progress",
    "enable_model_summary": "add +callbacks.summary._target_=lightning.pytorch.callbacks.RichModelSummary",
    "enable_autolog_hparams": "the configuration is always logged: choose logger=csv to keep it from W&B",
    "model_registry": "pass logger.wandb.artifacts=true to send checkpoints to W&B",
    "plugins": "they follow from trainer.precision and trainer.strategy",
}  # fmt: skip


def check_options(options: Mapping[str, Any], accumulate: Any = 1, callbacks: Mapping[str, Any] | None = None) -> None:
    """Raise UserError for an option that would have no effect, or a value of another type.

    Args:
        options: trainer.options.
        accumulate: trainer.accumulate_grad_batches.
        callbacks: the nodes of the configuration's callbacks; None if they are not known.
    """
    for name, value in options.items():
        if name in INSTEAD:
            raise UserError(f"trainer.options.{name} has no effect here: {INSTEAD[name]}")
        if name not in HONOURED:
            near = difflib.get_close_matches(name, [*HONOURED, *INSTEAD], 1)
            hint = f"; did you mean {near[0]}?" if near else f": it has {', '.join(HONOURED)}"
            raise UserError(f"trainer.options.{name} is not an argument of Lightning's Trainer{hint}")
        kind = ast.parse(HONOURED[name], mode="eval").body
        if value is not None and not fits(kind, value):
            raise UserError(f"trainer.options.{name}={shown(value)} must be {described(kind)}")
        if isinstance(value, int) and value < 0:
            raise UserError(f"trainer.options.{name}={value} must not be negative")
    if (limit := options.get("max_time")) is not None:
        _check_time(limit)
    if batches := options.get("overfit_batches"):
        _check_overfit(batches, accumulate)
    if options.get("log_every_n_steps") and callbacks is not None and not any(map(_foreign, callbacks.values())):
        raise UserError(
            "trainer.options.log_every_n_steps is the cadence of Lightning's own callbacks, and there are none: pass "
            "callbacks.log.every_n_steps"
        )


def _check_time(limit: str | Mapping[str, int]) -> None:
    if isinstance(limit, str):
        sound = re.fullmatch(r"\d+:\d\d:\d\d:\d\d", limit)
    else:
        sound = limit and limit.keys() <= {"weeks", "days", "hours", "minutes", "seconds"} and min(limit.values()) >= 0
    if not sound:
        raise UserError(
            f"trainer.options.max_time={shown(limit)} must be DD:HH:MM:SS, or of weeks, days, hours, minutes and "
            "seconds: pass 00:02:00:00 or {hours: 2} for two hours"
        )


def _check_overfit(batches: int, accumulate: Any) -> None:
    if accumulate == "auto" or batches % int(accumulate):
        raise UserError(
            f"trainer.options.overfit_batches={batches} must be a multiple of trainer.accumulate_grad_batches="
            f"{accumulate}, because it counts the parts of a step's batch"
        )


def _foreign(node: Any) -> bool:
    return isinstance(node, dict) and not str(node.get("_target_")).startswith("inkwash.")
