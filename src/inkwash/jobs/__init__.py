"""Jobs: what each rank of a command runs.

A command (commands/) checks a configuration, writes it into a directory and starts a process for each rank (launch/).
Each of these processes calls one function of this package with that directory, and reads all it needs from there:

    train.py      train(directory)      config.yaml     every rank
    sample.py     sample(directory)     sample.yaml     one process
    evaluate.py   evaluate(directory)   evaluate.yaml   every rank

Open train.py first. Before the first step, every rank

    1. locks train.log (rank 0) and sets up logging,
    2. reads the configuration and seeds the global generators,
    3. builds data, module, loggers, and finds the checkpoint to resume from,
    4. builds the Trainer, and logs what it is going to do,
    5. loads the weights of init_from for a new run, or checks those of the checkpoint,
    6. drops the records of steps that are done again (rank 0),
    7. hands over to Lightning, which joins the process group, restores the checkpoint and trains.

A mistake ends the job before step 7 where it can, and always as one sentence (errors.UserError).

    summary.py             the first lines of a training's log, and summary.json
    evaluation_checks.py   what an evaluation refuses before any image
    image_sources.py       the images of an evaluation: a run, a folder, a diffusers pipeline
    result_cache.py        the cache key of an evaluation's result
"""
