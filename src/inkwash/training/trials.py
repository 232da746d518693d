"""A job that is a trial of an Optuna study, as trial.json in its directory says. No torch: the sweeper asks too."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

FILE = "trial.json"


def write(directory: Path, about: dict[str, Any]) -> None:
    """Make the directory's job a trial: `storage`, `study`, `number`, `metric`; `pruned` holds a step later on."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"{FILE}.partial"
    partial.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    os.replace(partial, directory / FILE)


def read(directory: Path) -> dict[str, Any] | None:
    """What was written, or None where the job is no trial."""
    path = directory / FILE
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def pruned(directory: Path) -> bool:
    """Whether the pruner stopped it."""
    return (read(directory) or {}).get("pruned") is not None


def open_storage(storage: str) -> Any:
    """Optuna's storage at a path, a journal that needs no database, or at the URL of a database."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if "://" in storage:
        return optuna.storages.RDBStorage(storage)
    return optuna.storages.JournalStorage(JournalFileBackend(storage))


def open_trial(about: dict[str, Any], pruner: Any) -> Any:
    """The optuna.Trial of a job, to report to and to ask whether it should go on."""
    import optuna

    study = optuna.load_study(study_name=about["study"], storage=open_storage(about["storage"]), pruner=pruner)
    return optuna.Trial(study, study.get_trials(deepcopy=False)[about["number"]]._trial_id)
