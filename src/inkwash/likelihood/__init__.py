"""Likelihoods, in bits per dimension of images with 256 levels.

    -log p(x_0) <= L_T + sum_{t > 1} L_{t-1} + L_0        chains, bound.py (Ho et al. 2020, eq. 5)

        L_T      KL of q(x_T | x_0) from N(0, I)
        L_{t-1}  KL of q(x_{t-1} | x_t, x_0) from the reverse step p(x_{t-1} | x_t)
        L_0      -log p(x_0 | x_1), a Gaussian's probability of x_0's level (eq. 13)

    log p(x_0) = log p(x_{t_max}) + int_{t_min}^{t_max} div f dt        continuous paths, flow.py (Song et al. 2021)

        f = dx/dt = alpha' x_0 + sigma' eps, the probability flow ODE, with the denoiser's estimates of (x_0, eps)

A chain has steps, so it has a bound; a continuous path has derivatives, so it has a flow. The divergence is estimated
by Hutchinson's probes. Bits are nats / log 2; dividing by the number of values C * H * W makes them "per dimension".

Read bound.py first. To add a likelihood, write a class with `key`, `check` and `__call__` like BoundBits, and a YAML in
conf/likelihood.
"""
