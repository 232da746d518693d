"""trial.json: makes a job of a sweep a trial of an Optuna study. Without torch."""

import json
import warnings
from typing import Any

from inkwash.files import write_json
from inkwash.runs.directory import RunDirectory


def write_trial(run: RunDirectory, trial: dict[str, Any]) -> None:
    """Write trial.json: `storage`, `study`, `number` and `metric`, and `pruned`, the step at which it was stopped."""
    run.path.mkdir(parents=True, exist_ok=True)
    write_json(run.trial_path, trial)


def read_trial(run: RunDirectory) -> dict[str, Any] | None:
    """Read trial.json; None if the job is not a trial."""
    return json.loads(run.trial_path.read_text("utf-8")) if run.trial_path.exists() else None


def was_pruned(run: RunDirectory) -> bool:
    """Tell whether the pruner stopped the job."""
    return (read_trial(run) or {}).get("pruned") is not None


def open_storage(storage: str) -> Any:
    """Open Optuna's storage at a path (a journal, which needs no database) or at the URL of a database."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if "://" in storage:
        return optuna.storages.RDBStorage(storage)
    return optuna.storages.JournalStorage(JournalFileBackend(storage))


def open_trial(trial: dict[str, Any], pruner: Any) -> Any:
    """Open the optuna.Trial of a job, to report values to it and to ask whether to go on."""
    import optuna

    study = optuna.load_study(study_name=trial["study"], storage=open_storage(trial["storage"]), pruner=pruner)
    return optuna.Trial(study, study.get_trials(deepcopy=False)[trial["number"]]._trial_id)
