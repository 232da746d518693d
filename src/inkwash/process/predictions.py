"""Predictions: the regression target y = a * x_0 + b * eps, two numbers for each (alpha, sigma).

Together with x_t = alpha * x_0 + sigma * eps that is a 2x2 system with determinant det = alpha * b - sigma * a;
where it vanishes, y says nothing that x_t does not, and the target is ill-posed.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inkwash.errors import UserError
from inkwash.process.forward import mix, posterior_coefficients
from inkwash.process.schedules import Schedule


class Prediction(ABC):
    """A regression target. Shapes: alpha, sigma, a, b (n, 1, 1, 1) float64; images (n, C, H, W)."""

    name: str

    @abstractmethod
    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (a, b) of y = a * x_0 + b * eps."""

    def det(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        a, b = self.coefficients(alpha, sigma)
        return alpha * b - sigma * a

    def target(self, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        a, b = self.coefficients(alpha, sigma)
        return mix(a, x_0, b, eps)

    def decode(self, y: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for (x_0, eps) given the network's y at x_t."""
        a, b = self.coefficients(alpha, sigma)
        det = alpha * b - sigma * a
        return mix(b / det, x_t, -sigma / det, y), mix(-a / det, x_t, alpha / det, y)


class Eps(Prediction):
    """y = eps (Ho et al. 2020, eq. 14)."""

    name = "eps"

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(alpha), torch.ones_like(sigma)


class X0(Prediction):
    """y = x_0."""

    name = "x0"

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(alpha), torch.zeros_like(sigma)


class V(Prediction):
    """y = alpha * eps - sigma * x_0 (Salimans & Ho 2022, appendix D)."""

    name = "v"

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -sigma, alpha


class EDM(Prediction):
    """y = F of D = c_skip x_t + c_out F (Karras et al. 2022, eq. 7 and table 1): target and input have unit variance.

    Written for any path: y = (sigma c x_0 / sigma_data) - alpha c sigma_data eps with
    c = 1 / sqrt(alpha^2 sigma_data^2 + sigma^2).
    """

    name = "edm"

    def __init__(self, sigma_data: float = 0.5):
        if sigma_data <= 0:
            raise UserError(f"prediction.sigma_data={sigma_data} must be positive")
        self.sigma_data = sigma_data

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        c = (alpha**2 * self.sigma_data**2 + sigma**2).rsqrt()
        return sigma * c / self.sigma_data, -alpha * c * self.sigma_data


class Mu(Prediction):
    """y = the mean of q(x_{t-1} | x_t, x_0), a chain's previous step (Ho et al. 2020, eq. 7 and table 2).

    Most of it is x_t itself, so what is left to learn shrinks with beta_t: det is about alpha beta_t / sigma.

    Args:
        schedule: the chain; other paths have no previous step.
    """

    name = "mu"

    def __init__(self, schedule: Schedule):
        if not schedule.discrete:
            raise UserError("prediction=mu needs a chain of whole steps: use a beta schedule, or prediction=v")
        self.schedule = schedule

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        schedule = self.schedule.to(alpha.device)
        t = schedule.time_of((sigma / alpha).flatten())
        of_x_0, of_x_t = posterior_coefficients(schedule, t - 1, t)
        return of_x_0 + of_x_t * alpha, of_x_t * sigma


class Flow(Prediction):
    """y = eps - x_0, the velocity dx_t/dt of the straight path (Liu et al. 2022; Lipman et al. 2022)."""

    name = "flow"

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(alpha), torch.ones_like(sigma)
