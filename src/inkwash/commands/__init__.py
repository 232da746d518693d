"""The commands: `inkwash train` and `sweep`, `sample`, `evaluate`, `export`, `import`, `dashboard` and `sync`.

Each module composes and checks its configuration in the process that was typed, without torch, so that a mistake is
reported within half a second. Then

    train, sample, evaluate     write the configuration to a directory and start processes there (launch/), in which
                                the function of the same name in jobs/ runs
    export, import              work in this process, which imports torch only then (interop/)
    dashboard, sync             work in this process, without torch (tracking/)

`sweep` is `train` with Hydra's --multirun: a sweeper (hydra_plugins/, sweeps/) calls `train` once for each combination.

Read first: train.py. Exit codes: 0; 1 for an error, which is one sentence unless it is a bug; 128 + n after signal n.
"""
