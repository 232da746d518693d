"""The LightningModule of a diffusion model: Algorithm 1 of Ho et al. 2020.

In the order of a step: `training_step` computes the loss of a micro-batch, with random numbers of `draws`; Lightning
takes the gradient; `configure_gradient_clipping` clips it; `optimizer_step` updates the weights, then their averages.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric

from inkwash.checkpoints.restore import adapt
from inkwash.data.augment import Augment
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.base import Loss
from inkwash.random import Draws, generator, seed_default, seed_of
from inkwash.training import ema
from inkwash.training.buffers import agree, buffer_names, copy_buffers
from inkwash.training.clipping import clip_norm

# Generators of a global batch, a shard of its images from each: 1, 2, 4 or 8 processes draw the same numbers.
NUM_SHARDS = 8


class DiffusionModule(L.LightningModule):
    """A denoiser, its training objective, its optimizer and its averaged weights.

    Args:
        denoiser: the network, the schedule (alpha, sigma) it is trained on, and the prediction it regresses.
        loss: the objective, one term for each image.
        optimizer: called with the parameters, and with the network as `network` if it has an argument of that name.
        learning_rate: maps a step to a factor of the optimizer's learning rate.
        decay: maps the number n = 1, 2, ... of an update to the decay of the averaged weights.
        averages: decays of further averages by name, to compare with that one.
        seed: determines every random number of the training.
        augment: changes the training images and tells the network how; None for no change.

    Attributes:
        ema_denoiser: the denoiser of averaged weights, which samples and metrics use; never exchanged with `denoiser`.
        averages: denoisers of further averages, by name.
        net_buffers: names of the network's persistent buffers, which the averages take from it (buffers.py).
        latest: the values of the training itself that were logged last.
        lower_is_better: of each metric that this run will measure, in order: whether less is better, None for no best.
        scores: the values of the metrics measured last, at step `scores_step`.
        config: the resolved configuration as plain types, stored in every checkpoint.
        compute: the mode in which the network computes, stored too (compute_mode.py).
        grad_norm: gradient norm of the latest step before clipping, ().
        paused_seconds: time spent outside training steps (grids, metrics, checkpoints).
        measuring_seconds: the part of it that metrics took.
        own_values: what `log` was given in this step, by name; callbacks/own_values.py sends it to the loggers.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        loss: Loss,
        optimizer: Callable[..., Optimizer],
        learning_rate: Callable[[int], float],
        decay: ema.Decay,
        averages: Mapping[str, ema.Decay] | None = None,
        seed: int = 0,
        augment: Augment | None = None,
    ):
        super().__init__()
        self.denoiser = denoiser
        self.ema_denoiser = ema.AverageDenoiser.of(denoiser)
        self.decays = dict(averages or {})
        if bad := [name for name in self.decays if not name.isidentifier() or name in ("ema", "raw")]:
            raise UserError(f"averages: {bad[0]} cannot be a name: take letters, digits and _, and not ema or raw")
        self.averages = nn.ModuleDict({name: ema.AverageDenoiser.of(denoiser) for name in self.decays})
        self.net_buffers = buffer_names(denoiser.net)
        self.num_classes: int | None = getattr(denoiser.net, "num_classes", None)
        self.loss, self.optimizer, self.learning_rate = loss, optimizer, learning_rate
        self.decay, self.seed, self.augment = decay, seed, augment
        self._lists: dict[str, list[nn.Parameter]] = {}
        self._times_and_losses: list[tuple[Tensor, Tensor]] = []  # of the micro-batches of this step
        self.latest: dict[str, float] = {}
        self.lower_is_better: dict[str, bool | None] = {}
        self.scores: dict[str, float] = {}
        self.scores_step = -1
        self.config: dict[str, Any] = {}
        self.compute: dict[str, Any] = {}
        self.grad_norm = torch.zeros(())
        self.paused_seconds = self.measuring_seconds = 0.0
        self.own_values: dict[str, Tensor] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning's note of its hook, 40 times a step: no parameter
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # --- Algorithm 1, lines 2 to 5: the loss -----------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss of a micro-batch, one pass through the loop of Algorithm 1 (Ho et al. 2020).

            2  x_0 ~ q(x_0)                         the batch
            3  t ~ Uniform({1, ..., T})             or another distribution (times)
            4  eps ~ N(0, I)
            5  x_t = alpha x_0 + sigma eps          eq. 4: alpha = sqrt(alpha_bar_t), sigma = sqrt(1 - alpha_bar_t)
               loss = |eps - eps_theta(x_t, t)|^2   eq. 14, or another target, distance and weight (prediction, loss)

        Lines 3 to 5 are `Loss.forward` (losses/base.py). Lightning takes the gradient step on the mean.

        Args:
            batch: images x_0 (n, C, H, W) in [-1, 1], and labels y (n,), which an unconditional network does not get.
            batch_idx: number of the micro-batch since the beginning.

        Returns:
            `loss` (), the mean to minimise; for callbacks, without a gradient, `losses` (n,), the times `t` (n,), and
            `raw` (n,), the losses before they make up for how often t is drawn.
        """
        (x_0, y), told, micro = batch, None, batch_idx % self.trainer.accumulate_grad_batches
        if self.augment is not None:
            x_0, told = self.augment(x_0, self.draws(micro, len(x_0), "augment"))
        draws = self.draws(micro, len(x_0))
        self.loss.at_step(self.global_step)
        terms = self.loss(self.denoiser, x_0, y if self.num_classes is not None else None, draws, told)
        self._times_and_losses.append((terms.t, terms.raw))
        return {"loss": terms.loss.mean(), "losses": terms.loss.detach(), "t": terms.t, "raw": terms.raw.detach()}

    def draws(self, micro: int, n: int, stream: str = "train") -> Draws:
        """Return the random numbers of this rank's micro-batch `micro`, which has n images.

        The global batch consists of equal parts, one for each rank and micro-batch, and is cut into NUM_SHARDS shards
        (fewer if they do not divide it). A shard has a generator that (seed, step, shard) determines, and a part draws
        from those of its shards: the numbers of an image do not depend on the number of parts, as long as that divides
        the number of shards. Otherwise each part has a generator of its own.

        Streams are independent: times and noise, "train", are the same with and without an augmentation. Also seeds
        the global generator, from which dropout draws.
        """
        world, rank, step = self.trainer.world_size, self.trainer.global_rank, self.global_step
        parts = world * self.trainer.accumulate_grad_batches
        part = micro * world + rank
        shards = math.gcd(NUM_SHARDS, n * parts)
        each = shards // parts if shards % parts == 0 else 1
        # Counter-based generators are cheap on a GPU; elsewhere the CPU's serve.
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        generators = [
            generator(self.seed, stream, step, shard, device=device) for shard in range(part * each, (part + 1) * each)
        ]
        seed_default(seed_of(self.seed, "dropout", step, part), self.device)
        return Draws(generators, self.device, first=part * n, total=parts * n)

    # --- Algorithm 1, line 5: the gradient step --------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and its learning-rate schedule, counted in optimizer steps."""
        optimizer = self.new_optimizer()
        if self.trainer.precision == "16-mixed" and optimizer.defaults.get("fused"):
            # A fused optimizer unscales inside its step, after the gradients were clipped.
            raise UserError("trainer.precision=16-mixed clips right only with optimizer.fused=false")
        # A plain function, because LambdaLR saves the fields of other callables: a resume with more steps would keep
        # the old total_steps and train on at a learning rate of 0.
        scheduler = LambdaLR(optimizer, lambda step: self.learning_rate(step))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def new_optimizer(self) -> Optimizer:
        """Return an optimizer that has seen no gradient yet. Raises UserError if it has no use for the network."""
        made_by = getattr(self.optimizer, "func", self.optimizer)  # a partial's own signature needs fitting arguments
        more = {"network": self.denoiser.net} if "network" in inspect.signature(made_by).parameters else {}
        return self.optimizer([*self.denoiser.parameters(), *self.loss.parameters()], **more)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradient's norm, or each of its values, and keep its norm from before for the log."""
        by_value = gradient_clip_algorithm == "value" and gradient_clip_val
        most = math.inf if by_value else gradient_clip_val or math.inf
        weights = self._parameters_of("raw")
        self.grad_norm = clip_norm(weights, most)
        if by_value:
            nn.utils.clip_grad_value_(weights, by_value)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the weights, then their averages: once for all micro-batches of a step.

        Then the network may put its weights in order (`after_step`, nets/network.py).
        """
        super().optimizer_step(*args, **kwargs)
        if self.loss.times.learns:
            self._learn_times()
        self._times_and_losses.clear()
        self._update_averages(self.global_step + 1)  # Lightning counts this step only after this hook
        if (after_step := getattr(self.denoiser.net, "after_step", None)) is not None:
            after_step()

    def _update_averages(self, n: int) -> None:
        """Update the averages for the n-th time: parameters by their decay, buffers as they are (buffers.py)."""
        net: Any = self.denoiser.net
        if self.net_buffers and self.trainer.world_size > 1:
            agree(net, self.net_buffers)
        for name, decay in {"ema": self.decay, **self.decays}.items():
            ema.update(self._parameters_of(name), self._parameters_of("raw"), decay(n))
            copy_buffers(net, cast(Any, self.weights_of(name).net), self.net_buffers)

    def _learn_times(self) -> None:
        """Fit a learned distribution of times to the losses of the global batch.

        They come in the order of the batch's images, so that any number of ranks learns the same.
        """
        seen = torch.stack([torch.stack([t, raw.double()]) for t, raw in self._times_and_losses])  # (micro, 2, n)
        if self.trainer.world_size > 1:
            seen = torch.stack([*self.all_gather(seen)], dim=1)  # (micro, world, 2, n)
        t, losses = seen.reshape(-1, *seen.shape[-2:]).transpose(0, 1).flatten(1)
        self.loss.times.learn(t, losses)

    # --- Weights and scores ----------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "DiffusionModule":
        """Set training mode for the trained denoiser only: averages have no dropout."""
        super().train(mode)
        self.ema_denoiser.eval()
        self.averages.eval()
        return self

    def weights_of(self, name: str) -> Denoiser:
        """Return the denoiser of weights `ema`, `raw` or a further average. Raises UserError for another name."""
        known: dict[str, Any] = {"ema": self.ema_denoiser, "raw": self.denoiser, **self.averages}
        if name not in known:
            raise UserError(f"weights={name}: this run has {', '.join(known)}")
        return known[name]

    def on_train_start(self) -> None:
        self._lists.clear()  # the strategy may have replaced parameters, to shard them

    def _parameters_of(self, name: str) -> list[nn.Parameter]:
        """List the parameters of weights `name` once: to walk through all modules takes as long as a small step."""
        if name not in self._lists:
            self._lists[name] = [*self.weights_of(name).parameters()]
        return self._lists[name]

    def add_scores(self, scores: Mapping[str, float]) -> None:
        """Note metrics of this step beside others of this step; those of an earlier step are dropped."""
        others = self.scores if self.scores_step == self.global_step else {}
        self.scores, self.scores_step = {**others, **scores}, self.global_step

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool | None = None, *args: Any, **options: Any
    ) -> None:
        """Take a value of the user's own callbacks, whose `self.log` and `self.log_dict` are this module's.

        Args:
            name, value, prog_bar, logger: a number, a tensor () or a torchmetrics.Metric, as Lightning takes them.
            args, options: Lightning's, of which `sync_dist=True` logs the mean, or `reduce_fx`, over the ranks. A value
                belongs to its step, whatever on_step and on_epoch are.
        """
        super().log(name, value, prog_bar, False, *args, **options)  # checks it, and keeps it as callback_metrics
        if logger is False:
            return
        number = torch.as_tensor(value.compute() if isinstance(value, Metric) else value, device=self.device).detach()
        if options.get("sync_dist"):
            number = self.trainer.strategy.reduce(number.float(), reduce_op=options.get("reduce_fx", "mean"))
        self.own_values[name] = number

    # --- Checkpoints -----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["compute"] = self.compute
        checkpoint["scores"] = {"step": self.scores_step, **self.scores}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        adapt(checkpoint, self)
        self.scores = dict(checkpoint["scores"])
        self.scores_step = self.scores.pop("step")
