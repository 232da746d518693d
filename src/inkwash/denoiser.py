"""Denoisers: from a noisy image to estimates of (x_0, eps), all that a sampler needs."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.nets.network import Network
from inkwash.process.predictions import Prediction
from inkwash.process.schedules import Schedule

# Below this a float32 solve for (x_0, eps) returns mostly rounding noise.
MIN_DET = 1e-6
# Largest expected square of the target over the median, up to which the simple loss trains all noise levels.
MOST_UNEVEN = 100.0


@dataclass
class Estimate:
    """A denoiser's estimates at x_t. It unpacks as (x_0, eps).

    Attributes:
        x_0, eps: (n, C, H, W).
        v: interpolates between the two fixed log variances of the reverse step, about 0 to 1, (n, C, H, W); None unless
            the network learns it (Nichol & Dhariwal 2021, eq. 15; see process/variances.py).
    """

    x_0: Tensor
    eps: Tensor
    v: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x_0, self.eps))


class Denoiser(nn.Module):
    """Denoiser: a network, the path it was trained on and its prediction.

    Raises:
        UserError: the prediction is ill-posed at one end of the path (see predictions.py).
    """

    def __init__(self, net: Network, schedule: Schedule, prediction: Prediction):
        super().__init__()
        self.net, self.schedule, self.prediction = net, schedule, prediction
        for t in (schedule.t_min, schedule.t_max):
            det = float(prediction.det(*schedule(torch.tensor([t], dtype=torch.float64))))
            if abs(det) < MIN_DET:
                raise UserError(
                    f"prediction={prediction.name} is ill-posed on this schedule: at t={t:g} finding x_0 "
                    f"and eps means dividing by {det:.1g}; use prediction=v, or a schedule that keeps more of the image"
                )

    @property
    def two_times(self) -> bool:
        """True if the network can be told at which time a step ends."""
        return bool(getattr(self.net, "two_times", False))

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        augment: Tensor | None = None,
        s: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the network's two heads at x_t (n, C, H, W), t (n,), labels y (n,) or None; at least float32.

        Args:
            augment: what was done to the images before they were noised (data/augment.py), (n, k); None for nothing.
            s: the time at which a step from t ends, (n,), for a network that can be told (`two_times`); None for t.

        Returns:
            The regressed y, (n, C, H, W), and v of a learned variance, None from a network of one head.
        """
        told = {} if augment is None else {"augment": augment}  # arguments that most networks do not have
        if s is not None:
            check_two_times(self)
            told["until"] = self.schedule.time_input(s)
        out = self.net(self.schedule.input_scale(t).to(x_t.dtype) * x_t, self.schedule.time_input(t), y, **told)
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        channels = x_t.shape[1]
        # Nichol & Dhariwal's code: an output of -1 means the lower bound, 1 the upper one.
        return (out, None) if out.shape[1] == channels else (out[:, :channels], (out[:, channels:] + 1) / 2)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        augment: Tensor | None = None,
        s: Tensor | None = None,
    ) -> Estimate:
        """Return estimates of (x_0, eps), each (n, C, H, W), and v of a learned variance; arguments of `predict`.

        With s they are the pair on the line of x_t whose DDIM step to s is the network's jump: their difference is the
        mean velocity from t to s (losses/jumps.py).
        """
        prediction, v = self.predict(x_t, t, y, augment, s)
        return Estimate(*self.prediction.decode(prediction, x_t, *self.schedule(t)), v)


def check_two_times(denoiser: Denoiser) -> None:
    """Raise UserError if the network cannot be told at which time a step ends."""
    if not denoiser.two_times:
        raise UserError(
            f"model: {type(denoiser.net).__name__} cannot be told at which time a step ends: pass "
            "model.two_times=true, or a model that has it, as model=dit_digits"
        )


def check_size(denoiser: Denoiser) -> None:
    """Raise UserError if one end of the path dominates the simple loss, where the target is many times larger.

    The expected square of y = a * x_0 + b * eps is a^2 + b^2 for data of variance 1.
    """
    schedule, prediction = denoiser.schedule, denoiser.prediction
    times = schedule.time_at(torch.arange(100, dtype=torch.float64) / 100)
    a, b = prediction.coefficients(*schedule(times))
    sizes = a**2 + b**2
    if (ratio := float(sizes.max() / sizes.median())) > MOST_UNEVEN:
        raise UserError(
            f"prediction={prediction.name} with weighting=uniform: on this schedule the square of the target is "
            f"{ratio:.0f} times larger at one end than in the middle, where nothing would be learned: use "
            "prediction=edm, or another weighting"
        )
