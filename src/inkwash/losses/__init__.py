"""Training objectives: one Monte Carlo term for each image (Ho et al. 2020, Algorithm 1).

    t ~ p(t),  eps ~ N(0, I),  x_t = alpha x_0 + sigma eps
    simple loss    w(t) mean over pixels of distance(network(x_t, t), y)     eq. 14: w = 1, y = eps, L2
    bound          T L_{t-1}, in bits per dimension                          eq. 5
    hybrid         simple + vlb_weight * bound, for the variance alone       Nichol & Dhariwal 2021, eq. 16
    consistency    |f(x_t, t) - f(x_r, r)|, the same x_0 and eps at r < t    Geng et al. 2024 (ECT)
    jumps          |u(x_t, t, s) - target|^2, u the mean velocity to s < t   Geng et al. 2025 (MeanFlow), Frans et al.

y = a x_0 + b eps is the prediction's target (process/predictions.py), w the weighting (process/weightings.py) and
p(t) the distribution of training times (process/times.py).

Read base.py first: it draws t and eps and hides labels for classifier-free guidance. Then simple.py, with the
distances of distances.py; vlb.py holds bound and hybrid. For images in one or two steps there are consistency.py, and
jumps.py with mean_flow.py and shortcut.py. Equation 4 is process/forward.q_sample, called by `objective`. To add an
objective, write `objective` of a Loss; to add a distance, one class; and a YAML in conf/loss.
"""
