"""The LightningModule: a batch, its loss, an optimizer step, an average of the weights."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from inkwash.checkpoints.restore import adapt
from inkwash.denoiser import Denoiser
from inkwash.errors import UserError
from inkwash.losses.base import Loss
from inkwash.random import Draws, generator, seed_of
from inkwash.training import ema
from inkwash.training.fsdp import whole

# A global batch draws its noise from this many streams, so 1, 2, 4 or 8 processes draw the same numbers.
NUM_SHARDS = 8


class DiffusionModule(L.LightningModule):
    """Wraps the network, the noise schedule and the loss.

    Args:
        denoiser: the network, the noise schedule it is trained on and what it regresses.
        loss: one term for each image.
        optimizer: called with the parameters.
        learning_rate: step -> factor of the optimizer's learning rate.
        decay: update number -> share of the weight average that is kept.
        averages: decays of further averages by name, kept beside that one to be compared with it.
        seed: names every random number of the training.

    Attributes:
        ema_denoiser: its average, what samples and metrics use; a second module, never swapped with the first.
        averages: further averages, by name.
        latest: what was logged last of the training itself.
        lower_is_better: of each metric that this run will measure, in order: whether less is better, None for no best.
        scores: the latest value of every metric; `scores_step` is the step it belongs to.
        config: the resolved configuration as plain types, stored in every checkpoint.
        grad_norm: gradient norm of the latest step before clipping.
        paused_seconds: time spent outside training steps (grids, metrics, checkpoints); measuring_seconds: the part of
            it that went into metrics.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        loss: Loss,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        learning_rate: Callable[[int], float],
        decay: ema.Decay,
        averages: Mapping[str, ema.Decay] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.denoiser = denoiser
        self.ema_denoiser = ema.AverageDenoiser.of(denoiser)
        self.decays = dict(averages or {})
        if odd := [name for name in self.decays if not name.isidentifier() or name in ("ema", "raw")]:
            raise UserError(f"averages: {odd[0]} cannot be a name: take letters, digits and _, and not ema or raw")
        self.averages = nn.ModuleDict({name: ema.AverageDenoiser.of(denoiser) for name in self.decays})
        self.num_classes: int | None = getattr(denoiser.net, "num_classes", None)
        self.loss, self.optimizer, self.learning_rate, self.decay, self.seed = (
            loss,
            optimizer,
            learning_rate,
            decay,
            seed,
        )
        self._drawn: list[tuple[Tensor, Tensor]] = []
        self.latest: dict[str, float] = {}
        self.lower_is_better: dict[str, bool | None] = {}
        self.scores: dict[str, float] = {}
        self.scores_step = -1
        self.config: dict[str, Any] = {}
        self.grad_norm = torch.zeros(())
        self.paused_seconds = self.measuring_seconds = 0.0

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x_0, y = batch
        draws = self.draws(batch_idx % self.trainer.accumulate_grad_batches, len(x_0))
        terms = self.loss(self.denoiser, x_0, None if self.num_classes is None else y, draws)
        self._drawn.append((terms.t, terms.raw))
        return {"loss": terms.loss.mean(), "losses": terms.loss.detach(), "t": terms.t}

    def _learn_times(self) -> None:
        """Tell the distribution of times what the global batch found, in the same order on any number of processes."""
        drawn = torch.stack([torch.stack([t, raw.double()]) for t, raw in self._drawn])  # (micro, 2, n)
        self._drawn.clear()
        if self.trainer.world_size > 1:
            drawn = torch.stack([*self.all_gather(drawn)], dim=1)  # (micro, world, 2, n)
        t, losses = drawn.reshape(-1, *drawn.shape[-2:]).transpose(0, 1).flatten(1)
        # A step that was left out has nothing to teach (callbacks/guard.py).
        told = losses.isfinite()
        self.loss.times.learn(t[told], losses[told])

    def draws(self, micro: int, n: int) -> Draws:
        """The random numbers for n images, the `micro`-th part of this rank's share of this step's global batch.

        Also seeds the global generator, which dropout uses.
        """
        world, rank, step = self.trainer.world_size, self.trainer.global_rank, self.global_step
        cells = world * self.trainer.accumulate_grad_batches
        cell = micro * world + rank
        shards = math.gcd(NUM_SHARDS, n * cells)
        each = shards // cells if shards % cells == 0 else 1
        # Counter-based generators are cheap on a GPU; elsewhere the CPU's serve.
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        generators = [
            generator(self.seed, "train", step, shard, device=device) for shard in range(cell * each, (cell + 1) * each)
        ]
        torch.manual_seed(seed_of(self.seed, "dropout", step, cell))
        return Draws(generators, self.device, first=cell * n, total=cells * n)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([*self.denoiser.parameters(), *self.loss.parameters()])
        if self.trainer.precision == "16-mixed" and optimizer.defaults.get("fused"):
            # A fused optimizer unscales inside its step, after the gradients were clipped.
            raise UserError("trainer.precision=16-mixed clips right only with optimizer.fused=false")
        # A plain function, because LambdaLR saves the fields of other callables: a resume with more steps would keep
        # the old total_steps and train on at a learning rate of 0.
        scheduler = LambdaLR(optimizer, lambda step: self.learning_rate(step))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), gradient_clip_val or math.inf)
        self.grad_norm = whole([norm])[0]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average: once an optimizer step, however many batches it accumulates."""
        super().optimizer_step(*args, **kwargs)
        if self.loss.times.learns:
            self._learn_times()
        self._drawn.clear()
        # global_step counts this step only after this hook.
        n = self.global_step + 1
        ema.update(self.ema_denoiser.net, self.denoiser.net, self.decay(n))
        for name, decay in self.decays.items():
            ema.update(self.weights_of(name).net, self.denoiser.net, decay(n))

    def train(self, mode: bool = True) -> "DiffusionModule":
        """Training mode for the trained denoiser only: the average never drops anything out."""
        super().train(mode)
        self.ema_denoiser.eval()
        self.averages.eval()
        return self

    def weights_of(self, name: str) -> Denoiser:
        """The denoiser of weights ema, raw or one of the further averages. Raises UserError for another name."""
        known: dict[str, Any] = {"ema": self.ema_denoiser, "raw": self.denoiser, **self.averages}
        if name not in known:
            raise UserError(f"weights={name}: this run has {', '.join(known)}")
        return known[name]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["scores"] = {"step": self.scores_step, **self.scores}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        adapt(checkpoint, self)
        self.scores = dict(checkpoint["scores"])
        self.scores_step = self.scores.pop("step")
