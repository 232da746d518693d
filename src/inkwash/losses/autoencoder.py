"""Loss of a variational autoencoder: reconstruction and divergence (Kingma & Welling 2014, eq. 10)."""

from typing import Any

import torch
from torch import Tensor

from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.base import Loss, LossTerms
from inkwash.losses.distances import Distance
from inkwash.process.times import Times
from inkwash.random import Draws


class AutoencoderLoss(Loss):
    """Loss of an autoencoder, of each image:

        mean over pixels of distance(decode(z), x) + kl_weight * mean over latents of KL(N(m, s^2) || N(0, 1)),
        z = m + s eps,    KL = (m^2 + s^2 - 1 - log s^2) / 2

    The network is autoencoders/network.py's. There are no times: all terms stand at t_max.

    Args:
        distance: L2 or L1.
        kl_weight: small, so that latents keep details (Rombach et al. 2022, appendix G).
        times: see Loss; unused.
    """

    def __init__(self, distance: Distance, kl_weight: float, times: Times):
        super().__init__(times, label_dropout=0.0)
        if kl_weight < 0:
            raise UserError(f"loss.kl_weight={kl_weight} must not be negative")
        self.distance, self.kl_weight = distance, kl_weight

    def check(self, denoiser: Denoiser, learn_variance: bool) -> None:
        if not getattr(denoiser.net, "reconstructs", False):
            raise UserError("loss=autoencoder trains an autoencoder: use model=autoencoder_kl, or another loss")

    def forward(
        self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None, draws: Draws, augment: Tensor | None = None
    ) -> LossTerms:
        net: Any = denoiser.net
        loss = self._terms(net, x_0, draws.normal(len(x_0), *net.latent_shape))
        t = torch.full((len(x_0),), denoiser.schedule.t_max, dtype=torch.float64, device=x_0.device)
        return LossTerms(loss, t, loss.detach())

    def objective(
        self,
        denoiser: Denoiser,
        x_0: Tensor,
        eps: Tensor,
        t: Tensor,
        y: Tensor | None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """Return the loss with z = m, so that held-out losses depend on the weights alone."""
        return self._terms(denoiser.net, x_0, None)

    def _terms(self, net: Any, x: Tensor, eps: Tensor | None) -> Tensor:
        mean, log_variance = net.moments(x)
        z = mean if eps is None else mean + (log_variance / 2).exp() * eps
        one = torch.ones(len(x), 1, 1, 1, device=x.device)
        error = self.distance(net.decode(z).float(), x, one).mean(dim=(1, 2, 3))
        mean, log_variance = mean.float(), log_variance.float()
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance) / 2
        return error + self.kl_weight * divergence.mean(dim=(1, 2, 3))
