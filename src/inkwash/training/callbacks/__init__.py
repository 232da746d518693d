"""Callbacks: everything that happens during training and is not Algorithm 1.

`Periodic` (periodic.py), which to read first, runs on every rank after every `every_n_steps`-th optimizer step and
after the last. `Summing` adds up per-image values in between, and keeps its sums in checkpoints, so that a resumed run
logs what an uninterrupted one logs. Two rules hold for all callbacks:

* Every rank takes part: a callback may reduce over ranks at any step, since all ranks reach it at the same step. Only
  files and log lines are written by rank 0.
* Nothing is drawn from the training's random streams, and nothing waits for the device between two cadences. So a
  training has the same weights, bit for bit, whichever callbacks watch it.

    log       training_log.py       loss, learning rate, gradient norm, images per second
              loss_by_snr.py        the loss by log SNR
              heldout_loss.py       the loss on held-out images, at fixed times and noise
              ema_distance.py       distance of the averaged weights from the weights
              progress.py           the progress bar
              own_values.py         what callbacks of the user's own give to self.log
    check     same_config.py        every rank has the same configuration
              first_batch.py        the first batch is images
              finite_loss.py        loss and gradient are finite
              unused_parameters.py  every parameter gets a gradient, every average follows
    measure   sample_grid.py        a grid of samples from fixed noise
              evaluation.py         metrics of generated images; generation.py generates them, a part on each rank
    save      checkpoints.py        the newest states, and the best
              snapshots.py          averages of the weights, for others of any length after the training
    show      report.py             report.html, which grows while the run trains
    stop      early_stopping.py     a metric no longer improves
              pruning.py            Optuna stops a trial
              stop_on_signal.py     SIGTERM, SIGINT, SIGUSR1: save and stop

They run in the order in which conf/callbacks/default.yaml lists them: what measures comes before what saves, so that a
checkpoint knows the latest score. A new one is a class, and an entry in a YAML file of conf/callbacks/. Lightning
stores a callback's state under its class name: keep the names.
"""
