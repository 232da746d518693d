"""The commands: `inkwash train`, `sweep` and `resume`, `sample`, `evaluate`, `runs`, `compare` and others.

Each module composes and checks its configuration in the process that was typed, without torch, so that a mistake is
reported within half a second. Then

    train, sample, evaluate     write the configuration to a directory and start processes there (launch/), in which
                                the function of the same name in jobs/ runs
    export, import              work in this process, which imports torch only then (interop/)
    dashboard, sync             work in this process, without torch (tracking/)
    runs, compare, clean-runs   read what runs have left (runs/, reports/)
    summary                     runs the network of a configuration without numbers, in a process of its own

`sweep` is `train` with Hydra's --multirun: a sweeper (hydra_plugins/, sweeps/) calls `train` once for each combination.
`resume` is `train` with the overrides of a run, and so is `train from=RUN` (runs/command_line.py).

Read first: train.py, then preparation.py. Exit codes: 0; 1 for an error, which is one sentence unless it is a bug; 128
+ n after signal n.
"""
