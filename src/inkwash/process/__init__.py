"""The diffusion process: how an image becomes noise, what a network learns about it, and when.

One equation (Ho et al. 2020, eq. 4):

    x_t = alpha_t x_0 + sigma_t eps,    x_0 data, eps ~ N(0, I), noise grows with t, t = 0 is clean data

A *path* maps a time t to the pair (alpha, sigma). In code it is a `Schedule`, and every process is one (schedules.py):

    chain of T steps (DDPM)    alpha = sqrt(alpha_bar_t)    sigma = sqrt(1 - alpha_bar_t)    t = 1, ..., T
    variance preserving SDE    alpha = exp(...)             sigma = sqrt(1 - alpha^2)        0 < t <= 1
    EDM                        alpha = 1                    sigma = t                        0 < t <= sigma_max
    rectified flow             alpha = 1 - t                sigma = t                        0 < t <= 1

For two times s < t of any path the Gaussians of Ho et al. follow from the two pairs alone (forward.py):

    q(x_t | x_s)      = N(scale x_s, variance I),  scale = alpha_t / alpha_s,  variance = sigma_t^2 - scale^2 sigma_s^2
    q(x_s | x_t, x_0) = N(mean, variance (sigma_s / sigma_t)^2 I)                                        (eq. 6 and 7)
                 mean = (alpha_s variance / sigma_t^2) x_0 + (scale sigma_s^2 / sigma_t^2) x_t

With s = t - 1 on a chain, scale = sqrt(1 - beta_t), variance = beta_t (eq. 2), and the posterior's is beta tilde_t.

A network regresses y = a x_0 + b eps (predictions.py). Two numbers (a, b) make each target: eps (0, 1), x_0 (1, 0),
v (-sigma, alpha), flow (-1, 1), and those of edm and mu. With eq. 4 that is a 2x2 system, solved for (x_0, eps).

Three things are often all called "schedule". Here they are kept apart:

    path              t -> (alpha, sigma)                           schedules.py, betas.py     conf/schedule
    training times    the distribution p(t) that the loss draws     times.py                   conf/times
    sampling times    the times that a sampler visits               spacing.py                 conf/spacing

The papers' names beside ours:

    sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)    Ho et al. 2020          alpha, sigma
    alpha_t = 1 - beta_t                        Ho et al. 2020          no name, so that alpha means one thing
    beta_t, beta tilde_t                        Ho et al. 2020          transition(s, t)[1], posterior_variance(s, t)
    sigma                                       Karras et al. 2022      sigma_over_alpha(t) = sigma / alpha
    lambda                                      Lu et al. 2022          half_log_snr(t) = log(alpha / sigma)
    SNR                                         Kingma et al. 2021      snr(alpha, sigma) = (alpha / sigma)^2
    t in [0, 1], 0 noise and 1 data             Lipman et al. 2022      1 - t

Tables and times are float64; coefficients are cast to the images' type last (forward.mix).

Read schedules.py first, then forward.py and predictions.py. variances.py holds the reverse step's variances,
weightings.py the loss weight of each noise level. To add a path, write `forward` and `time_input` of a Schedule, or,
for a chain, one function in betas.py; to add another part, one class. A YAML in conf/ names it.
"""
