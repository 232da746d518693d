"""A schedule: a path t -> (alpha, sigma) from clean data at t = 0 to noise."""

from inkwash.process.schedules import Schedule
from torch import Tensor


class PowerSchedule(Schedule):
    """alpha = 1 - t^power, sigma = t^power, for t in [0, 1]."""

    def __init__(self, power: float):
        super().__init__()
        self.power, self.t_min, self.t_max = power, 0.01, 1.0

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma, float64 and shaped (n, 1, 1, 1), at times (n,)."""
        sigma = t.double().view(-1, 1, 1, 1) ** self.power
        return 1 - sigma, sigma

    def time_input(self, t: Tensor) -> Tensor:
        """Return what the network gets as its time, float32, about 0 to 1000."""
        return (1000 * t).float()
