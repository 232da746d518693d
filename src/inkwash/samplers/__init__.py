"""Samplers: from noise to images, in steps x_t -> x_s over falling times.

A sampler asks a denoiser for estimates of (x_0, eps) at x_t and needs nothing else of the network. Two families:

    ancestral    x_s ~ q(x_s | x_t, x_0 estimate)             Ho et al. 2020, Algorithm 2       ancestral.py
    ODE          dx/dt = alpha' x_0 + sigma' eps              Song et al. 2021, eq. 13          ddim.py, heun.py, ...

The exact solution of the probability flow ODE with a constant estimate is DDIM's step, x_s = alpha_s x_0 + sigma_s eps.
In (x / alpha, sigma / alpha), EDM's coordinates, the ODE's slope is eps and that step is Euler's; higher orders correct
the slope (heun.py) or extrapolate x_0 in lambda = log(alpha / sigma) (dpm_solver.py, unipc.py). DDIM with eta > 0 lies
between the two families. consistency.py is for networks that estimate where the ODE ends (losses/consistency.py).

Read base.py first: the loop over times, the noise of each image, clipping; then ddim.py and ancestral.py. generate.py
draws many images in batches, inversion.py runs the ODE from data to noise. To add a sampler, write `step` of a Sampler
and a YAML in conf/sampler, whose `clip: ${pixel_clip:}` bounds x_0 where it is pixels and not where it is latents.
"""
