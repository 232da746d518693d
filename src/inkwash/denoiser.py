"""Denoisers: from a noisy image to estimates of (x_0, eps), all that a sampler asks for."""

import torch
from torch import Tensor, nn

from inkwash.errors import UserError
from inkwash.process.predictions import Prediction
from inkwash.process.schedules import Schedule

# Below this a float32 solve for (x_0, eps) returns mostly rounding noise.
MIN_DET = 1e-6


class Denoiser(nn.Module):
    """A network, the path it was trained on and what it predicts.

    Raises:
        UserError: the prediction is ill-posed at one end of the path (see predictions.py).
    """

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: Prediction):
        super().__init__()
        self.net, self.schedule, self.prediction = net, schedule, prediction
        for t in (schedule.t_min, schedule.t_max):
            det = float(prediction.det(*schedule(torch.tensor([t], dtype=torch.float64))))
            if abs(det) < MIN_DET:
                raise UserError(
                    f"prediction={prediction.name} is ill-posed on this schedule: at t={t:g} finding x_0 "
                    f"and eps means dividing by {det:.1g}; use prediction=v"
                )

    def predict(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The network's output at x_t (n, C, H, W), t (n,), labels y (n,) or None; at least float32."""
        out = self.net(self.schedule.input_scale(t).to(x_t.dtype) * x_t, self.schedule.time_input(t), y)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Estimates of (x_0, eps), each (n, C, H, W)."""
        alpha, sigma = self.schedule(t)
        return self.prediction.decode(self.predict(x_t, t, y), x_t, alpha, sigma)


class GuidedDenoiser(nn.Module):
    """Classifier-free guidance: u + scale * (c - u) of a denoiser with and without labels (Ho & Salimans 2022, eq. 6).

    In the paper's own count this scale is 1 + w: 0 is unconditional, 1 conditional, more trades variety for fidelity.
    (x_0, eps) are affine in the network's output at fixed x_t, so guiding either guides any prediction.
    """

    def __init__(self, denoiser: nn.Module, scale: float):
        super().__init__()
        self.denoiser, self.scale = denoiser, scale
        self.schedule = denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if y is None:
            raise UserError("guidance needs class labels: train with model.num_classes, or sample with guidance=1")
        twice = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, torch.full_like(y, -1)]))
        (x_0, x_0_free), (eps, eps_free) = (pair.chunk(2) for pair in twice)
        return torch.lerp(x_0_free, x_0, self.scale), torch.lerp(eps_free, eps, self.scale)


def guided(denoiser: nn.Module, scale: float) -> nn.Module:
    """The denoiser with guidance, or itself at scale 1, where guidance changes nothing but the cost."""
    return denoiser if scale == 1 else GuidedDenoiser(denoiser, scale)
