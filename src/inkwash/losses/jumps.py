"""Losses of networks that are told where a step ends: they regress the mean velocity from t to s.

Any path is the straight one in other coordinates, where all of this is written:

    tau = sigma / (alpha + sigma),  z = x_t / (alpha + sigma) = (1 - tau) x_0 + tau eps
    dz / dtau = v(z, t) = E[eps - x_0 | z]                                the velocity of the probability flow
    u(z, t, s) = 1 / (tau_t - tau_s) * integral of v from s to t          the mean velocity; u(z, t, t) = v(z, t)
    z_s = z_t - (tau_t - tau_s) u(z_t, t, s)                              a jump, exact in one step

u is eps - x_0 of the estimate that a denoiser gives for a step from t to s, and the jump is DDIM's step with it, for
any prediction. So the samplers, guidance and metrics of other networks serve here, too.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from inkwash.denoiser import Denoiser, check_two_times
from inkwash.errors import UserError
from inkwash.losses.base import Loss, refuse_weighting
from inkwash.process.forward import mix
from inkwash.process.schedules import Schedule
from inkwash.process.times import Times
from inkwash.process.weightings import Weighting
from inkwash.random import restore_default, state_of_default

# Largest factor of an error of the network's output in u.
MOST = 20.0


def tau_of(schedule: Schedule, t: Tensor) -> Tensor:
    """Return tau = sigma / (alpha + sigma) at times t (n,): float64, (n, 1, 1, 1)."""
    alpha, sigma = schedule(t)
    return sigma / (alpha + sigma)


class Velocity:
    """The mean velocity u of a denoiser for the images of a batch; each call drops the same features.

    Args:
        y, augment: what the network is told of the images, as in Denoiser.
    """

    def __init__(self, denoiser: Denoiser, y: Tensor | None, augment: Tensor | None, device: torch.device):
        self.denoiser, self.schedule, self.y, self.device = denoiser, denoiser.schedule, y, device
        self.told = {} if augment is None else {"augment": augment}
        self.masks = state_of_default(device)

    def __call__(self, z: Tensor, t: Tensor, s: Tensor, y: Tensor | None = None) -> Tensor:
        """Return u(z, t, s) (n, C, H, W) for z (n, C, H, W), times t and s (n,); y in place of the batch's labels."""
        restore_default(self.masks, self.device)
        alpha, sigma = self.schedule(t)
        size = alpha + sigma
        x_0, eps = self.denoiser(size.to(z.dtype) * z, t, self.y if y is None else y, **self.told, s=s)
        return eps - x_0


class JumpLoss(Loss):
    """Mean squared error of u(z, t, s) from a target that takes no gradient. A new one writes `target` and `ends`.

    With guidance the velocity that is learned is guided (Geng et al. 2025a, MeanFlow, eq. 19 and 21): eps - x_0 becomes
    omega (eps - x_0) + mix v(z, t, y) + (1 - omega - mix) v(z, t, no label), omega = guidance (1 - mix), for images
    that keep their label. Samples are then guided without a second evaluation: draw them with guidance=1.

    Args:
        times, label_dropout: see Loss.
        guidance: scale; 1 for none.
        mix: share of the network's own guided velocity in it, in [0, 1).
        power, offset: the gradient of each image is multiplied by 1 / (e + offset)^power, e its squared error summed
            over pixels. The value of the loss, which is logged, stays the mean squared error.
        weighting: the configuration's, refused unless it is uniform.

    Raises:
        UserError: a value is out of its range.
    """

    name: str  # of conf/loss
    two_times = True

    def __init__(
        self,
        times: Times,
        guidance: float = 1.0,
        mix: float = 0.0,
        power: float = 0.0,
        offset: float = 0.01,
        label_dropout: float = 0.1,
        weighting: Weighting | None = None,
    ):
        super().__init__(times, label_dropout)
        refuse_weighting(weighting, f"loss={self.name} weights by its own error")
        if not (guidance >= 1 and 0 <= mix < 1):
            raise UserError(f"loss.guidance={guidance} must be at least 1, and loss.mix={mix} in [0, 1)")
        if power < 0 or not offset > 0:
            raise UserError(f"loss.power={power} must not be negative, and loss.offset={offset} above 0")
        if guidance > 1 and label_dropout == 0:
            raise UserError(f"loss.guidance={guidance} guides away from no label, which needs loss.label_dropout=0.1")
        self.guidance, self.mix, self.power, self.offset = guidance, mix, power, offset
        self.posterior_mean = guidance == 1

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        super().check(denoiser, learn_variance)
        schedule, prediction = denoiser.schedule, denoiser.prediction
        if schedule.discrete or schedule.t_max != 1:
            raise UserError(
                f"loss={self.name} needs a path in continuous time from 0 to 1: pass schedule=flow prediction=flow, or "
                "schedule=vp, or cosine_shifted"
            )
        check_two_times(denoiser)
        alpha, sigma = schedule(torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64))
        if (worst := float(((alpha + sigma) / prediction.det(alpha, sigma)).abs().max())) > MOST:
            raise UserError(
                f"prediction={prediction.name}: at one end of the path an error of the network counts {worst:.0f} "
                f"times in the velocity that loss={self.name} learns: pass prediction=flow or v"
            )
        if self.guidance > 1 and getattr(denoiser.net, "num_classes", None) is None:
            raise UserError(f"loss.guidance={self.guidance} needs classes: pass loss.guidance=1")

    @abstractmethod
    def target(self, u: Velocity, z: Tensor, v: Tensor, found: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return the target (n, C, H, W) of u(z, t, s), where it is called without gradients.

        Args:
            v: eps - x_0 of each image, guided.
            found: u(z, t, s) itself.
        """

    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
        s: Tensor | None = None,
    ) -> Tensor:
        """Return the mean squared error of each image, (n,); s None for the whole way from t to the data."""
        s = torch.zeros_like(t) if s is None else s
        u, tau = Velocity(denoiser, y, augment, x_0.device), tau_of(denoiser.schedule, t)
        z = mix(1 - tau, x_0, tau, eps)
        found = u(z, t, s)
        with torch.no_grad():
            target = self.target(u, z, self._guided(u, z, eps - x_0, t), found, t, s)
        error = (found - target).square().float()
        return self._weighted(error.mean(dim=(1, 2, 3)), error[0].numel())

    def _guided(self, u: Velocity, z: Tensor, v: Tensor, t: Tensor) -> Tensor:
        if self.guidance == 1 or u.y is None:
            return v
        omega = self.guidance * (1 - self.mix)
        guided = omega * v + (1 - omega - self.mix) * u(z, t, t, torch.full_like(u.y, -1))
        if self.mix > 0:
            guided = guided + self.mix * u(z, t, t)
        return torch.where((u.y >= 0).view(-1, 1, 1, 1), guided, v)

    def _weighted(self, error: Tensor, pixels: int) -> Tensor:
        """Return errors (n,) of the same values, and of the gradient of their weighted sums over pixels."""
        if self.power == 0:
            return error
        total = pixels * error
        weighted = total / (total.detach() + self.offset) ** self.power
        return error.detach() + weighted - weighted.detach()


def check_same(same: float) -> None:
    """Raise UserError unless a share of images with s = t leaves others."""
    if not 0 < same < 1:
        raise UserError(f"loss.same={same} must lie between 0 and 1: both kinds of pairs are needed")
