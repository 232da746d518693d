"""Muon, an optimizer for the hidden matrices of a network, with AdamW for its other parameters.

Adam scales every number of a matrix by itself. Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in
neural networks") takes the matrix as a whole: of the momentum's singular value decomposition U S V^T it steps along
U V^T, so that every direction gets a step of the same length, also those that a few strong ones would hide.

torch.optim.Muon takes matrices only: no kernels of convolutions, and no other parameters beside them.
"""

import difflib
import fnmatch
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from inkwash.errors import UserError
from inkwash.newton_schulz import orthogonalised

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Muon(Optimizer):
    """Muon for the hidden matrices of a network, AdamW for all else; one learning-rate factor serves both.

    A matrix W (rows, columns) with gradient G gets (M starts at 0):

        M <- momentum M + (1 - momentum) G
        O  = NewtonSchulz((1 - momentum) G + momentum M)                Nesterov's momentum; O is about U V^T
        W <- (1 - lr weight_decay) W - lr sqrt(max(1, rows / columns)) O

    A convolution's kernel (out, in, k, k) is the matrix (out, in k k). A linear layer with an attribute `parts` stands
    for that many matrices, one below the other, and each gets its own O. Which matrices are hidden: see
    `hidden_matrices`. The others follow AdamW (Loshchilov & Hutter 2019) at a rate of their own: AdamW's is the change
    of a number, Muon's that of a singular value.

    `param_groups` are two: the matrices, then the others. The iteration computes in bfloat16 on a GPU and in float32
    elsewhere. It needs whole matrices, which trainer.strategy=fsdp would cut up. A network without any has AdamW alone.

    Args:
        params: all that is trained.
        network: where the hidden matrices are looked for; parameters of `params` outside it are AdamW's.
        lr: of the matrices; 0.02 as in the source.
        momentum: of the matrices, in [0, 1).
        steps: Newton-Schulz steps.
        gram: on a CPU iterate on X X^T: faster, and O is the same to 0.002 of its largest number.
        adamw_lr, betas, eps: of the others.
        weight_decay: of all, times the rate of each.
        exclude: names of matrices of the network that AdamW shall have; `*` stands for any text.
        fused: the one kernel of torch for AdamW's part; not with precision 16-mixed.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/

    Raises:
        UserError: a value is out of its range, a name of `exclude` does not occur or none is left, or the
            parameters are sharded.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        network: nn.Module,
        lr: float = 0.02,
        momentum: float = 0.95,
        steps: int = 5,
        gram: bool = True,
        adamw_lr: float = 5e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        exclude: Sequence[str] = (),
        fused: bool = True,
    ):
        for name, value in {"lr": lr, "adamw_lr": adamw_lr, "eps": eps}.items():
            if not value > 0:
                raise UserError(f"optimizer.{name}={value} must be above 0")
        for name, value in {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
            if not 0 <= value < 1:
                raise UserError(f"optimizer.{name}={value} must lie in [0, 1)")
        if steps < 1:
            raise UserError(f"optimizer.steps={steps} must be at least 1")
        if not weight_decay >= 0:
            raise UserError(f"optimizer.weight_decay={weight_decay} must not be negative")
        params = list(params)
        if any(hasattr(parameter, "full_tensor") for parameter in params):  # a DTensor, which is slow to import
            raise UserError(
                "optimizer=muon needs whole matrices, which trainer.strategy=fsdp cuts up: pass trainer.strategy=ddp "
                "or optimizer=adamw"
            )
        hidden = set(hidden_matrices(network, exclude).values())
        matrices = [parameter for parameter in params if parameter in hidden]
        if not matrices and exclude and hidden_matrices(network):
            raise UserError("optimizer.exclude leaves no matrix to Muon: pass optimizer=adamw, or exclude fewer")
        others = [parameter for parameter in params if parameter not in hidden]
        self._parts = stacked(network)
        super().__init__(
            [
                {"params": matrices, "lr": lr, "momentum": momentum, "steps": steps, "gram": gram},
                {"params": others, "lr": adamw_lr, "betas": tuple(betas), "eps": eps},
            ],
            {"weight_decay": weight_decay, "fused": fused},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; return what `closure`, which computes it, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices, others = self.param_groups
        self._step_of_muon(matrices)
        self._step_of_adamw(others)
        return loss

    def _directions(self, params: Sequence[Tensor], momenta: Sequence[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Return the steps of matrices for a rate of 1; a layer that stacks several has each by itself."""
        pieces = [m.chunk(self._parts.get(p, 1)) for p, m in zip(params, momenta, strict=True)]
        matrices = [piece for part in pieces for piece in part]
        found = iter(orthogonalised(matrices, group["steps"], group.get("gram", False)))  # a state of before has none
        updates = [torch.cat([next(found) for _ in part]) if len(part) > 1 else next(found) for part in pieces]
        rows = [len(part[0]) for part in pieces]
        torch._foreach_mul_(updates, [math.sqrt(max(1, r / u[0].numel())) for r, u in zip(rows, updates, strict=True)])
        return updates

    def _step_of_muon(self, group: dict[str, Any]) -> None:
        params = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not params:
            return
        grads = [parameter.grad for parameter in params]
        for parameter in params:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in params]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        updates = self._directions(params, torch._foreach_lerp(grads, momenta, group["momentum"]), group)
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, updates, alpha=-group["lr"])

    def _step_of_adamw(self, group: dict[str, Any]) -> None:
        params = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not params:
            return
        for parameter in params:
            if not (state := self.state[parameter]):
                # A fused kernel counts on its device.
                device = parameter.device if group["fused"] else "cpu"
                state["step"] = torch.zeros((), dtype=torch.float32, device=device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in params]
        adamw(
            params,
            [parameter.grad for parameter in params],
            *([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")),
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def hidden_matrices(network: nn.Module, exclude: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """Return a network's hidden matrices by name: its parameters of two dimensions or more, without

    - those of the first and the last convolution, which read and write pixels. The order is that in which the network
      registers its layers; without any convolution the first and the last linear layer count;
    - embeddings, of classes for example: a row of theirs is looked up, not multiplied;
    - those with one row or one column as a matrix (first dimension, all others), scales and biases in effect;
    - the names of `exclude` and of the network's attribute `not_hidden` if it has one, with `*` for any text: positions
      (tokens, width), and an output layer that is linear after a convolution, show only in their names.

    The small network that embeds the time counts as hidden. Queries, keys and values that one layer computes are one
    matrix, unless the layer has `parts`.

    Raises:
        UserError: no parameter has a name of `exclude`.
    """
    named = dict(network.named_parameters())
    exclude = (*exclude, *getattr(network, "not_hidden", ()))
    for pattern in exclude:
        if not fnmatch.filter(named, pattern):
            near = [*difflib.get_close_matches(pattern, named, 1, cutoff=0), "none"][0]
            raise UserError(f"optimizer.exclude: the network has no parameter {pattern}; the nearest name is {near}")
    layers = [layer for layer in network.modules() if isinstance(layer, CONVOLUTIONS)]
    layers = layers or [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    embeddings = [layer for layer in network.modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]
    apart = {parameter for layer in (*layers[:1], *layers[-1:], *embeddings) for parameter in layer.parameters()}
    return {
        name: parameter
        for name, parameter in named.items()
        if parameter.ndim >= 2
        and min(len(parameter), parameter[0].numel()) > 1
        and parameter not in apart
        and not any(fnmatch.fnmatch(name, pattern) for pattern in exclude)
    }


def stacked(network: nn.Module) -> dict[Tensor, int]:
    """Return the weights of linear layers that stand for several, each with their number."""
    layers = ((layer, getattr(layer, "parts", None)) for layer in network.modules() if isinstance(layer, nn.Linear))
    return {layer.weight: parts for layer, parts in layers if isinstance(parts, int)}
