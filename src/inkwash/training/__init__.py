"""Training: Algorithm 1 of Ho et al. 2020 as a LightningModule, with all that surrounds a step.

The algorithm, line by line
---------------------------
Algorithm 1 minimises the simple loss (eq. 14) by stochastic gradient descent. One pass through its loop is one
optimizer step on a global batch of images:

    1  repeat                                         Trainer.fit until trainer.max_steps           trainer.py
    2    x_0 ~ q(x_0)                                 the next global batch, in [-1, 1]             data/
    3    t ~ Uniform({1, ..., T})                     any distribution of times                     process/times.py
    4    eps ~ N(0, I)                                Loss.forward, by DiffusionModule.draws        losses/base.py
    5    gradient step on |eps - eps_theta(x_t, t)|^2
           x_t = sqrt(alpha_bar_t) x_0                the forward process (eq. 4), for us
                 + sqrt(1 - alpha_bar_t) eps          x_t = alpha x_0 + sigma eps                   process/forward.py
           eps_theta(x_t, t)                          the network                                   denoiser.py, nets/
           |.|^2                                      any distance, weighted by noise level         losses/
           gradient step                              clip, then the optimizer                      module.py
    6  until converged                                trainer.max_steps, or EarlyStopping           callbacks/

`DiffusionModule.training_step` (module.py) is lines 2 to 5 up to the gradient, which Lightning takes. After the
optimizer has stepped, `DiffusionModule.optimizer_step` updates the averaged weights.

What Lightning's classes do here
--------------------------------
* The LightningModule (module.py) is the algorithm: loss, optimizer, gradient clipping, averaged weights. No sampling,
  no metric and no plot is in it.
* A Callback (callbacks/) is anything else that happens every so many steps: logs, sample grids, metrics, checkpoints,
  guards. A configuration lists them under `callbacks`, and their order there is the order in which they run.
* The Trainer (trainer.py) is the loop: devices, ranks, precision, accumulation. Time is counted in optimizer steps;
  epochs mean nothing.

Randomness
----------
A random number of the training is a function of (seed, stream, step, shard), never of a state that a resume could
lose. The global batch of a step is cut into 8 shards, each with a generator of its own; a rank draws the shards of its
images. So 1, 2, 4 or 8 ranks draw the same times and noise, a resumed run draws what an uninterrupted one draws, and
sampling in between, which has streams of its own, changes nothing. Dropout is seeded anew at every step.

Averaged weights
----------------
Samples and metrics use an exponential moving average (EMA) of the weights, theta' <- d_n theta' + (1 - d_n) theta
after step n, with the decay d_n from ema.py. It is a second denoiser, never exchanged with the trained one, and stays
in float32. Buffers of the network, such as BatchNorm's statistics, are copied, once the ranks have agreed on them
(buffers.py).

Where to begin
--------------
Open module.py first, then callbacks/periodic.py. Code that runs all of this is jobs/train.py.

    module.py             the LightningModule: Algorithm 1
    clipping.py           the norm of the gradient
    ema.py                decay rules of the averaged weights
    buffers.py            a network's buffers: in the averages, and on the ranks
    learning_rate.py      schedules of the learning rate
    trainer.py            Lightning's Trainer, the number of threads, the device
    compute_mode.py       precision, memory format and threads of a run
    mode_choice.py        their choice, by the times of mode_timing.py
    threads.py            the number of CPU threads, and busy machines
    precision.py          names of precisions, and the autocast context
    build.py              the module of a configuration
    network_check.py      is the network one? asked before the first step
    resume.py             where a training starts; names the other files that know about resuming
    initial_weights.py    init_from: the weights of another run, as far as they fit
    fsdp.py               the network in parts, one for each rank
    compile.py            torch.compile, with a way back
    flops.py              operations of a network, for the summary at the start
    network_cost.py       its layers and the memory of a step, for `inkwash summary`
    profiling.py          Lightning's profilers, and a line on where the time went
    micro_batches.py      `accumulate_grad_batches=auto`, and advice when memory runs out
    log_setup.py          console, in colour where there is some, and train.log

A new learning-rate schedule or decay is a class and a YAML file in conf/learning_rate/ or conf/ema/.
"""
