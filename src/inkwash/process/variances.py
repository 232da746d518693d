"""Variances of p(x_s | x_t), the reverse step's Gaussian, for any pair of times s < t of any path."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import posterior_variance, transition
from inkwash.process.schedules import Schedule


class Variance(ABC):
    """Variance of p(x_s | x_t).

    Attributes:
        learned: True if it needs the network's second head (model.learn_variance).
    """

    learned = False

    @abstractmethod
    def log(self, schedule: Schedule, s: Tensor, t: Tensor, v: Tensor | None = None) -> Tensor:
        """Return the log variance, float64, (n, 1, 1, 1), or (n, C, H, W) when it is learned; -inf for 0.

        Args:
            v: the network's second head (n, C, H, W), which interpolates between the two fixed log variances; None from
                a network without one.
        """

    def __call__(self, schedule: Schedule, s: Tensor, t: Tensor, v: Tensor | None = None) -> Tensor:
        """Return the variance, float64, of the shape of `log`."""
        return self.log(schedule, s, t, v).exp()


class FixedSmall(Variance):
    """Variance beta tilde_t of q(x_s | x_t, x_0): right when x_0 is a single point (Ho et al. 2020, section 3.2)."""

    def log(self, schedule: Schedule, s: Tensor, t: Tensor, v: Tensor | None = None) -> Tensor:
        return posterior_variance(schedule, s, t).log()


class FixedLarge(Variance):
    """Variance of q(x_s | x_t) for x_0 ~ N(0, I), for which it is right (Ho et al. 2020, section 3.2).

    It is beta_t (alpha_s^2 + sigma_s^2) / (alpha_t^2 + sigma_t^2), with beta_t the variance of q(x_t | x_s): beta_t on
    a chain, where alpha^2 + sigma^2 = 1.
    """

    def log(self, schedule: Schedule, s: Tensor, t: Tensor, v: Tensor | None = None) -> Tensor:
        (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(s), schedule(t)
        shrinks = (alpha_s**2 + sigma_s**2) / (alpha_t**2 + sigma_t**2)
        return (transition(schedule, s, t)[1] * shrinks).log()


class FixedBetween(Variance):
    """Variance large^share small^(1 - share), of FixedLarge and FixedSmall; on a chain LearnedRange with v = share.

    Data lie between a point and N(0, I), and so does the best variance, the more so the fewer the steps.
    """

    def __init__(self, share: float = 0.5):
        if not 0 <= share <= 1:
            raise UserError(f"sampler.variance.share={share} must lie between 0 and 1")
        self.share = share

    def log(self, schedule: Schedule, s: Tensor, t: Tensor, v: Tensor | None = None) -> Tensor:
        small, large = FixedSmall().log(schedule, s, t), FixedLarge().log(schedule, s, t)
        # torch.lerp makes NaN of -inf, which is log beta tilde of the step to s = 0.
        return large if self.share == 1 else self.share * large + (1 - self.share) * small


class LearnedRange(Variance):
    """Variance exp(v log beta_t + (1 - v) log beta tilde_t), v the network's second head, not bounded to [0, 1].

    Source: Nichol & Dhariwal 2021, eq. 15. Where s = 0, beta tilde is 0 and `first_log_variance` stands for its log.
    """

    learned = True

    def log(self, schedule: Schedule, s: Tensor, t: Tensor, v: Tensor | None = None) -> Tensor:
        if v is None:
            raise UserError("a learned variance needs a network that learns it: train with model.learn_variance=true")
        small = torch.where(
            (s > 0).view(-1, 1, 1, 1), posterior_variance(schedule, s, t).log(), first_log_variance(schedule, t)
        )
        large = transition(schedule, s, t)[1].log()
        v = v.double()
        return v * large + (1 - v) * small


def first_log_variance(schedule: Schedule, t: Tensor) -> Tensor:
    """Return a finite log beta tilde for the step from t to 0, (n, 1, 1, 1): that of the step from 2 t to t.

    So on a whole chain beta tilde_2 stands for beta tilde_1 = 0, as in Ho et al.'s and improved-diffusion's code.
    """
    before = posterior_variance(schedule, t, (2 * t).clamp(max=schedule.t_max))
    # A chain of a single step has no step from 2 t to t: beta_t then.
    return torch.where(before > 0, before, transition(schedule, torch.zeros_like(t), t)[1]).log()
