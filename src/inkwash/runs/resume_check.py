"""Check whether a training may go on in a run directory that exists, and what a changed key does to the run.

The command asks before anything is written; each rank asks again with the checkpoint's own configuration
(training/resume.py). Without torch.
"""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from inkwash.config.renames import DEFAULTS
from inkwash.config.signatures import defaults_of
from inkwash.errors import UserError
from inkwash.files import write_text
from inkwash.runs.directory import DONE, RunDirectory
from inkwash.runs.overview import is_sweep


def check_files(run: RunDirectory) -> None:
    """Raise UserError if the path is not a directory or is a sweep's, or a file that a training reads is damaged."""
    for folder in (run.path, run.checkpoints.path, run.samples):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, not a folder: choose another run=NAME")
    if is_sweep(run.path):
        raise UserError(f"run={run.path.name}: {run} is a sweep: choose another run=NAME")
    for path in (
        run.config_path, run.next_config_path, run.record_path, run.status_path, run.summary_path, run.trial_path,
        run.metrics_csv, run.metrics_jsonl, run.log_path, run.lock_path,
    ):  # fmt: skip
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise UserError(f"{path} is not a regular file: move it away, or choose another run=NAME")
    _ = run.record


def check_resume(run: RunDirectory, resume: str, config: dict[str, Any]) -> None:
    """Raise UserError if `resume` (auto, must, never) or a changed key forbids to go on from the checkpoints."""
    files = run.checkpoints.newest_first()
    if resume == "must" and not files:
        raise UserError(
            f"resume=must, but there is no {run.checkpoints.last}: check run=, or pass resume=auto to start afresh"
        )
    if not files:
        return
    if resume == "never":
        raise UserError(f"resume=never, but {run} already holds a run: choose another run=NAME or delete it")
    # An imported run has made no step yet. The ranks read the step from the checkpoint itself (training/resume.py).
    step = 0 if not run.checkpoints.by_step() and "imported" in run.record else None
    if change := forbidden(run.config, config, step):
        raise UserError(refusal(run, change))


def remembered(run: RunDirectory) -> dict[Path, str]:
    """Read the files that `put_back` restores."""
    paths = [run.record_path]
    if run.status["state"] in DONE:
        paths.append(run.status_path)
    return {path: path.read_text("utf-8") for path in paths if path.is_file()}


def put_back(run: RunDirectory, multirun: bool, texts: dict[Path, str]) -> None:
    """Leave the run as it was, unless the resume has written a checkpoint. A sweep's job keeps its failed status."""
    if run.drop_next_config():
        with contextlib.suppress(OSError):  # a full disk, perhaps, which the ranks have reported
            for path, text in texts.items():
                if not (multirun and path == run.status_path):
                    write_text(path, text)


# --- Defaults that changed --------------------------------------------------------------------------------------------

# How a run is measured where today's default is not that of older versions: the key, its new default (a `_target_` if
# it is a node), and the key that is typed to choose another.
AUTO = "inkwash.metrics.extractors.auto.AutoFeatures"
MEASURED = (
    ("extractor", AUTO, "extractor"),
    ("callbacks.evaluation.extractor", AUTO, "extractor"),
    ("callbacks.evaluation.labels", "reference", "callbacks.evaluation.labels"),
    ("callbacks.evaluation.batch_size", None, "callbacks.evaluation.batch_size"),
    ("callbacks.heldout.batch_size", None, "callbacks.heldout.batch_size"),
)


def measured_as_before(stored: dict[str, Any], config: dict[str, Any], typed: list[str]) -> dict[str, Any]:
    """Return the configuration that a run goes on with: measured as it has been, so that its values still compare.

    A default that is newer than the run does not apply to it; what was typed does.
    """
    names = {override.partition("=")[0].lstrip("+~") for override in typed}
    for key, default, choice in MEASURED:
        new, old = _at(config, key), _at(stored, key)
        chosen = any(name in (key, choice) or name.startswith((f"{key}.", f"{choice}.")) for name in names)
        if (new.get("_target_") if isinstance(new, dict) else new) == default and old is not None and not chosen:
            config = _with(config, key.split("."), old)
    return config


def _at(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _with(node: dict[str, Any], parts: list[str], value: Any) -> dict[str, Any]:
    first, *rest = parts
    return {**node, first: _with(node[first], rest, value) if rest else value}


# --- Changed keys -----------------------------------------------------------------------------------------------------

APPLIED, IGNORED, FORBIDDEN = "applied", "ignored", "forbidden"
RULES = {
    "": (APPLIED, ""),
    "model": (FORBIDDEN, "the weights fit no other network"),
    "model.checkpointing": (APPLIED, ""),
    "schedule": (FORBIDDEN, "the weights are of a network for this path"),
    "prediction": (FORBIDDEN, "the weights are of a network with this output"),
    "optimizer._target_": (FORBIDDEN, "an optimizer's state fits no other"),
    "optimizer.gram": (APPLIED, "the steps agree to 0.2%, no longer bit for bit"),
    "optimizer.exclude": (FORBIDDEN, "the state of a matrix and of AdamW do not fit each other"),
    "data.source": (FORBIDDEN, "other images are another run"),
    "data.source.cache_dir": (APPLIED, ""),
    "data.source.window": (APPLIED, "the order of the images is another from here on"),
    "autoencoder": (FORBIDDEN, "other latents are another run"),
    "autoencoder.path": (APPLIED, "it must hold the same weights"),
    "autoencoder.batch_size": (APPLIED, ""),
    "autoencoder.cache": (APPLIED, "the latents agree to rounding, no longer bit for bit"),
    "data.shape": (FORBIDDEN, "other images are another run"),
    "data.num_classes": (FORBIDDEN, "other labels are another run"),
    "data.batch_size": (APPLIED, "step s takes images s * batch_size and on, as if it had always been so"),
    "data.flip": (APPLIED, "the order of the images is another from here on"),
    "augment": (APPLIED, "the images are changed in another way from here on"),
    "data.seed": (APPLIED, "the order of the images is another from here on"),
    "seed": (APPLIED, "the noise and times are others from here on"),
    "init_from": (IGNORED, "the run has weights of its own"),
}
# Before the first step only these matter: an imported run may still choose its data and optimizer.
OF_THE_WEIGHTS = ("model", "schedule", "prediction")
SHOWN = 20


class Change(NamedTuple):
    """Key whose value differs between two configurations, with the rule for it."""

    key: str
    old: Any
    new: Any
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new} ({self.rule}{self.reason and ': '}{self.reason})"


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """List the keys whose values differ between two configurations, in the order of the new one.

    An argument that one of them does not give has its class's default there: an older version had not got it yet.
    """
    before, after = _flat(old), _flat(new)
    before, after = _with_defaults(before, after), _with_defaults(after, before)
    return [
        Change(key, before.get(key), after.get(key), *_rule(key))
        for key in dict.fromkeys([*after, *before])
        if before.get(key) != after.get(key) and (before.get(key), after.get(key)) != DEFAULTS.get(key)
    ]


def forbidden(old: dict[str, Any], new: dict[str, Any], step: int | None) -> Change | None:
    """Return the first change that forbids to resume from a checkpoint; None if there is no such change.

    Args:
        step: of the checkpoint; None for some step after the first.
    """
    refused = [change for change in changes(old, new) if change.rule == FORBIDDEN]
    refused = [change for change in refused if step != 0 or change.key.split(".")[0] in OF_THE_WEIGHTS]
    if not refused:
        return None
    # Of another class all arguments differ, and say less than its name.
    group = refused[0].key.split(".")[0]
    return next((change for change in refused if change.key == f"{group}._target_"), refused[0])


def refusal(run: Any, change: Change) -> str:
    """Compose the error message for a forbidden change."""
    group = change.key.split(".")[0]
    start = "" if group == "model" else f", or start from its weights with run=NAME init_from={run}"
    name = Path(str(run)).name
    return (
        f"{run} holds a checkpoint of another {change.key} ({change.old} there, {change.new} now), and "
        f"{change.reason}: choose another run=NAME{start}; `inkwash resume run={name}` goes on as it was typed"
    )


def described(changed: list[Change]) -> list[str]:
    """Format the first SHOWN changes, a line each."""
    lines = [str(change) for change in changed[:SHOWN]]
    rest = len(changed) - len(lines)
    return [*lines, f"and {rest} more: config.yaml has them"] if rest else lines


def _rule(key: str) -> tuple[str, str]:
    fits = [name for name in RULES if name == "" or key == name or key.startswith(f"{name}.")]
    return RULES[max(fits, key=len)]


def _with_defaults(given: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add the arguments that only the other configuration gives, where their class, the same in both, has a default."""
    added = {}
    for key in other.keys() - given.keys():
        node, _, name = key.rpartition(".")
        target = given.get(f"{node}._target_")
        if isinstance(target, str) and target.startswith("inkwash.") and target == other.get(f"{node}._target_"):
            with contextlib.suppress(UserError):  # a class that is no longer there
                if name in (defaults := defaults_of(target)):
                    added[key] = defaults[name]
    return given | added


def _flat(node: Any, key: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; a list is one leaf."""
    if not isinstance(node, dict) or (key and not node):
        return {key: node}
    parts = (_flat(item, f"{key}.{part}".lstrip(".")) for part, item in node.items())
    return {name: leaf for part in parts for name, leaf in part.items()}
