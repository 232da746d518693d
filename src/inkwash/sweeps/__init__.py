"""Sweeps: the names of their jobs, the table at the end, and trials of Optuna. In the command's process, without torch.

A sweep is a directory runs/SWEEP with a run directory for each job, whose name has the overrides that vary and a hash
of all of them. So the same command finds its jobs again and runs only those that are not done.

    plan.py     before: directory, combinations and names of jobs, what is refused
    table.py    after: sweep.csv and the printed table, best job first; the objective of a study
    trial.py    trial.json, by which a training in its own processes reports to the study that chose its values

Read first: plan.py. The sweepers and the launcher that Hydra loads are in src/hydra_plugins/inkwash/ and call these.
"""
