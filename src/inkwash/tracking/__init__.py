"""Tracking: the numbers and images of a run, in its directory and on dashboards.

    open_loggers.py      makes the loggers of a configuration
    pictures.py          sends a grid to a logger, by the method that its class has for pictures
    csv_logger.py        metrics.csv in the run directory: every number that was logged
    tensorboard_logger.py   event files of TensorBoard
    mlflow_logger.py     an MLflow run, on a server or in a folder
    lost.py              what loggers do when what they send to has gone
    wandb_logger.py      the Weights & Biases (W&B) run of a training
    wandb_history.py     what earlier starts of a run have logged
    wandb_artifact.py    checkpoints as artifacts, there and back
    wandb_jobs.py        a W&B run for each evaluation or sampling job of a trained run
    wandb_offline.py     records that have not been uploaded
    wandb_settings.py    W&B's own variables and file: server, API key, project, mode; without importing wandb
    wandb_reach.py       whether the server can be reached, within seconds; if not, a run is logged offline
    wandb_workspace.py   the W&B workspace: which panel shows which value

A training logs through Lightning's Logger interface (`log_metrics`, `log_hyperparams`), always with the optimizer step
as the axis. The run directory is the original: a run without W&B loses nothing, and metrics.csv is what resuming and
summaries read. wandb is imported in this package alone.

Open csv_logger.py first: it is the whole interface in one small class. A new logger is a subclass of
lightning.pytorch.loggers.Logger with an argument `directory`, and a YAML file in conf/logger/. What else it may have:

    log_picture(name, picture, step)    is sent the grids
    log_samples(sheet, images, labels, step)   is sent the samples' grid and its images instead (wandb_logger.py)
    forget_after(step)                  before a resumed run repeats later steps
    close(failed)                       at the very end
"""
