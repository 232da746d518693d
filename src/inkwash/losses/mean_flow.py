"""MeanFlow: the mean velocity from its derivative along the probability flow."""

import torch
from torch import Tensor

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.jumps import JumpLoss, Velocity, check_same, tau_of
from inkwash.process.schedules import Schedule
from inkwash.process.times import Stratified, Times
from inkwash.process.weightings import Weighting
from inkwash.random import Draws

# Largest change of the fastest wave of a network's time within one difference, in radians.
MOST_RADIANS = 0.5


class MeanFlowLoss(JumpLoss):
    """MeanFlow as a regression, iMF: |u + (tau_t - tau_s) du/dtau - (eps - x_0)|^2, du/dtau without gradient.

    With tau_s fixed, du/dtau = v du/dz + partial u/partial tau along the flow; that u + (tau_t - tau_s) du/dtau = v
    is the derivative of u's definition (Geng et al. 2025a, MeanFlow, eq. 6). The velocity of that derivative is the
    network's own, u(z, t, t), so that eps - x_0 stands in the target alone (Geng et al. 2025b, iMF, eq. 11). It is a
    central difference, two evaluations with half a step to each side, in float32 whatever the precision: a
    Jacobian-vector product costs as much as four (experiments/few_steps), and has no fused attention.

    A pair of times is the greater and the lesser of a draw from `times` and one from `until`; of the share `same` the
    lesser is the greater, which is flow matching, by which u(z, t, t) is learned.

    Args:
        until: distribution of the other time.
        same: share of the images with s = t.
        h: half of the difference's step in time.
        times, guidance, mix, power, offset, label_dropout, weighting: see JumpLoss.

    Raises:
        UserError: a value is out of its range, or the weights have 16 bits.
    """

    name = "meanflow"

    def __init__(
        self,
        times: Times,
        until: Times,
        same: float = 0.5,
        h: float = 0.005,
        guidance: float = 1.0,
        mix: float = 0.0,
        power: float = 0.0,
        offset: float = 0.01,
        label_dropout: float = 0.1,
        weighting: Weighting | None = None,
    ):
        super().__init__(times, guidance, mix, power, offset, label_dropout, weighting)
        if isinstance(until, Stratified):  # its place in a slice is that of the image: both times would be nearly equal
            raise UserError(
                "loss.until: stratified times lie beside those of times=stratified: loss=meanflow needs uniform ones"
            )
        check_same(same)
        if not 0 < h <= 0.1:
            raise UserError(f"loss.h={h} must be above 0 and at most 0.1")
        self.until, self.same, self.h = until, same, h

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        super().check(denoiser, learn_variance)
        scale = getattr(denoiser.net, "time_scale", None)
        if scale is not None and 1000 * scale * self.h > MOST_RADIANS:
            raise UserError(
                f"loss=meanflow takes the derivative in time, and with model.time_scale={scale} the network's waves "
                f"turn by {1000 * scale * self.h:.2g} radians within loss.h={self.h}: pass model.time_scale=0.001"
            )

    def ends(self, schedule: Schedule, t: Tensor, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        other = self.until(schedule, len(t), draws)
        t, s = torch.maximum(t, other), torch.minimum(t, other)
        return t, {"s": torch.where(draws.uniform(len(t)) < self.same, t, s)}

    def target(self, u: Velocity, z: Tensor, v: Tensor, found: Tensor, t: Tensor, s: Tensor) -> Tensor:
        _check_digits(u.denoiser)
        schedule = u.schedule
        later, sooner = (t + self.h).clamp(max=schedule.t_max), (t - self.h).clamp(min=schedule.t_min)
        tau, tau_later, tau_sooner, tau_s = (tau_of(schedule, time) for time in (t, later, sooner, s))
        with torch.autocast(z.device.type, enabled=False):
            flow = u(z, t, t)
            ahead = u(z + (tau_later - tau).to(z.dtype) * flow, later, s)
            behind = u(z + (tau_sooner - tau).to(z.dtype) * flow, sooner, s)
        return v - ((tau - tau_s) / (tau_later - tau_sooner)).to(z.dtype) * (ahead - behind)


def _check_digits(denoiser: Denoiser) -> None:
    weight = next(denoiser.parameters(), torch.empty(0))
    if weight.dtype.itemsize < 4:
        raise UserError(
            f"loss=meanflow takes a difference of two outputs, for which weights in {weight.dtype} have too few "
            "digits: pass trainer.precision=32-true, or bf16-mixed"
        )
