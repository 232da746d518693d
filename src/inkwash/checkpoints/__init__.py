"""Checkpoints: a file with the whole state of a training.

A checkpoint holds plain types and tensors only, so that reading one cannot run code
(`torch.load(..., weights_only=True)`):

    state_dict         denoiser.*      the trained weights
                       ema_denoiser.*  their average; further averages are averages.NAME.*
                       loss.*          the state of an objective that has one
    global_step        optimizer steps done
    optimizer_states, lr_schedulers, loops, callbacks
                       what Lightning needs to go on
    sums               running sums of callbacks, a row for each rank (training/callbacks/periodic.py)
    config             the resolved configuration
    scores             the latest value of every metric, and its step
    compute            precision, memory format and threads in which the network computed
    images, layout     fingerprint of the training images; numbers of processes and micro-batches

io.py writes a file whole or not at all and reads it with checks; open it first. restore.py adapts a loaded state to the
current configuration, posthoc.py adds up snapshots of averages. Names, order and deletion of the files are in
runs/checkpoint_files.py, which needs no torch.
"""
