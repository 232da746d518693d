"""A network, and a whole sampler at fixed steps, as modules that torch.export traces: for onnx and torch_export.

Neither needs Inkwash once it is exported. Everything is float32 but labels: what is computed of times in float64 is
computed here, and goes into the files as tables of float32 numbers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from inkwash.denoiser import Denoiser
from inkwash.interop.sampler_table import tabulate
from inkwash.process.forward import mix
from inkwash.samplers.base import Sampler

Inputs = dict[str, Tensor]


class SamplerGraph(nn.Module):
    """Images from noise by a sampler at fixed steps: the sums of sampler_table.py around a network.

    Args:
        denoiser: in evaluation mode, on the CPU.
        sampler: with the times it is to visit.
        guidance: scale of classifier-free guidance; 1 for none.

    Attributes:
        num_noises: how many fresh noises `forward` takes.

    Raises:
        UserError: the sampler's steps are no fixed sums.
    """

    def __init__(self, denoiser: Denoiser, sampler: Sampler, guidance: float = 1.0):
        super().__init__()
        table, schedule = tabulate(sampler, denoiser.schedule), denoiser.schedule
        self.net, self.clip, self.guidance = denoiser.net, sampler.clip, guidance
        self.rederive_eps = sampler.clip is not None and sampler.rederive_eps
        self.num_noises = table.num_noises
        alpha, sigma = schedule(table.times)
        a, b = denoiser.prediction.coefficients(alpha, sigma)
        det = alpha * b - sigma * a
        scale = schedule.input_scale(table.times)
        # x_0 and eps of (x_t, y), then eps of (x_t, x_0), as Prediction.decode and eps_from compute them.
        factors = [scale, b / det, -sigma / det, -a / det, alpha / det, 1 / sigma, -alpha / sigma]
        self.times: Tensor
        self.factors: Tensor
        self.first: Tensor
        self.updates: Tensor
        self.draws: Tensor
        self.register_buffer("times", schedule.time_input(table.times))
        self.register_buffer("factors", torch.cat([factor.flatten(1) for factor in factors], 1).float())
        self.register_buffer("first", table.first.float())
        self.register_buffer("updates", table.updates.float())
        self.register_buffer("draws", table.draws)

    def forward(self, noise: Tensor, labels: Tensor | None = None, noises: Tensor | None = None) -> Tensor:
        """Return images (n, C, H, W), about -1 to 1.

        Args:
            noise: standard normal, (n, C, H, W).
            labels: int64 (n,), -1 for no label; None without classes.
            noises: fresh noises, (num_noises, n, C, H, W); None if the sampler draws none.
        """
        sources = noise[None] if noises is None else torch.stack([noise, noises[0]])
        state = _sums(self.first[:, : len(sources)], sources)
        steps = [self.times, self.factors, self.updates[:, :, : -1 if noises is None else None]]
        steps += [] if noises is None else [noises[self.draws]]

        def step(state: Tensor, now: Sequence[Tensor]) -> Tensor:
            time, factors, update, *fresh = now
            x_0, eps = self.estimate(state[0], time, factors, labels)
            return _sums(update, torch.cat([state, torch.stack([x_0, eps, *fresh])]))

        return _repeated(step, state, steps)[0]

    def estimate(self, x_t: Tensor, time: Tensor, factors: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (x_0, eps) at x_t (n, C, H, W), guided and clipped."""
        scale, *decode, of_x_t, of_x_0 = factors.unbind()
        if self.guidance != 1:
            assert labels is not None
            x, y = torch.cat([x_t, x_t]), torch.cat([labels, torch.full_like(labels, -1)])
        else:
            x, y = x_t, labels
        out = self.net(scale * x, time.expand(len(x)), y)[:, : x.shape[1]]
        x_0, eps = mix(decode[0], x, decode[1], out), mix(decode[2], x, decode[3], out)
        if self.guidance != 1:
            n = len(x_t)  # `chunk` would be traced for a fixed number of images
            x_0, eps = (torch.lerp(both[n:], both[:n], self.guidance) for both in (x_0, eps))
        x_0 = x_0 if self.clip is None else self.clip(x_0)
        return x_0, mix(of_x_t, x_t, of_x_0, x_0) if self.rederive_eps else eps


def _repeated(step: Callable[[Tensor, Sequence[Tensor]], Tensor], state: Tensor, steps: list[Tensor]) -> Tensor:
    """Return the state after a step for each row of `steps`; traced as a loop, whose body is in the file only once."""
    if torch.compiler.is_exporting():
        return scan(lambda state, now: (step(state, now), []), state, steps)[0]
    for now in zip(*steps, strict=True):
        state = step(state, now)
    return state


def _sums(factors: Tensor, images: Tensor) -> Tensor:
    """Return sums of images (k, n, C, H, W), a row of factors (m, k) for each: (m, n, C, H, W)."""
    return (factors @ images.flatten(1)).view(len(factors), *images.shape[1:])


def network_inputs(shape: tuple[int, ...], num_classes: int | None, n: int) -> Inputs:
    """Return some inputs of a network: x, time and, with classes, y."""
    draw = torch.Generator().manual_seed(0)
    inputs = {"x": torch.randn(n, *shape, generator=draw), "time": 1000 * torch.rand(n, generator=draw)}
    return inputs | ({} if num_classes is None else {"y": _labels(num_classes, n)})


def sampler_inputs(graph: SamplerGraph, shape: tuple[int, ...], num_classes: int | None, n: int) -> Inputs:
    """Return some inputs of a whole sampler: noise and, with classes, labels, and fresh noises if it draws them."""
    draw = torch.Generator().manual_seed(1)
    inputs = {"noise": torch.randn(n, *shape, generator=draw)}
    if num_classes is not None:
        inputs["labels"] = _labels(num_classes, n)
    if graph.num_noises:
        inputs["noises"] = torch.randn(graph.num_noises, n, *shape, generator=draw)
    return inputs


def _labels(num_classes: int, n: int) -> Tensor:
    return torch.arange(n) % num_classes


def traced(module: nn.Module, inputs: Inputs, batch: int | None) -> Any:
    """Return the torch.export.ExportedProgram of a module for any number of images, or for `batch`."""
    shapes = {name: {axis: torch.export.Dim("batch")} for name, axis in batch_axes(inputs).items()}
    module = module.eval().requires_grad_(False)
    with torch.no_grad():
        # Strict, because traced otherwise a loop's body calls functions that the tracing has replaced.
        program = torch.export.export(module, (), inputs, dynamic_shapes=None if batch else shapes, strict=True)
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # paths and lines of this machine
    return program


def batch_axes(names: Iterable[str]) -> dict[str, int]:
    """Return the axis of each input along which the images are counted."""
    return {name: 1 if name == "noises" else 0 for name in names}
