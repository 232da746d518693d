"""A run's directory on disk. Read and written by commands and ranks; imports no torch.

| file | content | written by, when |
|---|---|---|
| config.yaml | resolved configuration of the checkpoints | command, at the first start; first checkpoint of a resume |
| config.next.yaml | that of a resume which has no checkpoint yet | command, before a resume |
| run.json | id (W&B's too), `command` to paste, overrides, choices, commit, versions | command, before each start |
| status.json | running, finished, pruned, stopped or failed, and why | command, before the start and at the end |
| launch.lock | held while a command has the directory | command |
| train.log | what rank 0 logs; locked while it trains | rank 0 |
| checkpoints/ | step-N.ckpt, last.ckpt (the newest of them), best.ckpt | rank 0 (callbacks/checkpoints.py) |
| snapshots/ | step-N.safetensors, averages for others of any length (averages.py) | rank 0 (callbacks/snapshots.py) |
| metrics.csv | values by step, a row each | rank 0, at each logged step |
| metrics.jsonl | every metric with its protocol | rank 0, at each measurement |
| samples/ | grids of images; output of `inkwash sample` | rank 0; sample |
| summary.json | steps, loss, metrics at the end | rank 0, at the end |
| error-rank-N.txt, error.txt | report of a rank; the first of them | rank N; its parent |
| trial.json | the Optuna trial that the run is | sweeper, before the start |
| console.txt | output of a sweep's job that runs beside others | launcher parallel or gpus |
| evaluations/ | tables of `inkwash evaluate` and the stored results | evaluate |
| report.html | the page that shows the run | rank 0, while it trains; command, at the end; report |
| report/ | what the page shows and no other file holds: strips of the processes, schedules | rank 0; report |

Files are replaced as a whole (files.py), so that a reader never sees half of one. A directory may be moved or copied.

Read first: directory.py, whose RunDirectory names each file; names.py makes new directories. config_file.py reads
configurations, which may come from anywhere, and checks them. checkpoint_files.py lists checkpoints without reading
them, resume_check.py decides whether a changed key allows to resume, lock.py keeps a second training out, provenance.py
finds commit and versions, best.py tells which end of a metric is best. overview.py makes the rows of a list of runs,
cleaning.py finds what may be deleted, command_line.py joins a run's overrides with others, labels.py finds the class
that a name means.
"""
