"""A command like inkwash.train whose jobs take no time: the same configuration, sweepers, launchers and directories.

Instead of training, a job writes down where and when it ran and a loss that is a function of its learning rate, whose
smallest value, 0, is at 1e-3. What else it does is in the environment:

    SECONDS     how long it takes
    FAIL        it fails at this learning rate
    DIE         it is killed at this learning rate, with SIGKILL
    STOP_AFTER  the whole sweep is killed when so many jobs have begun
    REPORT      it reports its loss after so many steps to the study, as training does, and obeys
"""

import json
import math
import os
import signal
import time

from inkwash.commands import train
from inkwash.config import cli
from inkwash.files import write_text
from inkwash.runs.directory import RunDirectory
from inkwash.sweeps.trial import open_trial, read_trial, write_trial


def job(config):
    run, started = train.job_directory(), time.time()
    directory = run.path
    directory.mkdir(parents=True, exist_ok=True)
    train.write_record(run, "auto", "hash")
    run.write_status("running")
    with open(directory.parent / "begun", "a") as file:
        file.write(f"{directory.name}\n")
    begun = len((directory.parent / "begun").read_text().splitlines())
    if begun == int(os.environ.get("STOP_AFTER", -1)):
        os.kill(os.getpid(), signal.SIGKILL)
    if config.optimizer.lr == float(os.environ.get("DIE", -1)):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("SECONDS", 0)))
    loss = math.log10(config.optimizer.lr / 1e-3) ** 2
    seen = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "started": started, "ended": time.time()}
    summary = {"metrics": {}, "heldout_loss": loss, "steps": 4, "loss": loss, "images_per_second": 1.0, **seen}
    write_text(directory / "summary.json", json.dumps(summary))
    if config.optimizer.lr == float(os.environ.get("FAIL", -1)):
        run.write_status("failed", error="error: as it was told to")
        return float("nan")
    run.write_status("pruned" if obeys(run, loss) else "finished")
    return loss


def obeys(run: RunDirectory, loss: float) -> bool:
    """Report the loss at each step; return True if the pruner stopped the job."""
    if "REPORT" not in os.environ:
        return False
    from optuna.pruners import MedianPruner

    record = read_trial(run)
    assert record is not None
    trial = open_trial(record, MedianPruner(n_startup_trials=2))
    for step in range(int(os.environ["REPORT"])):
        trial.report(loss, step)
        if trial.should_prune():
            write_trial(run, {**record, "pruned": step})
            return True
    return False


if __name__ == "__main__":
    from support import fast_jobs  # by the name that other processes find it by

    cli.run(fast_jobs.job, "train")
