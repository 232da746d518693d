"""make explain: draw the five ideas of the field from the code itself, as PNG files beside this one.

Every curve comes from the classes that train and sample; beside it stands what it should be: the chain beside its
closed form, the posterior beside simulated chains, samplers beside the exact flow of a mixture that is known.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from hydra.utils import instantiate
from matplotlib import pyplot as plt
from torch import Tensor, nn

from inkwash import compose
from inkwash.data.digits import Digits
from inkwash.denoiser import Estimate
from inkwash.images import to_float
from inkwash.process.forward import eps_from, q_posterior, q_sample, q_step
from inkwash.process.predictions import X0, Eps, V
from inkwash.process.schedules import Schedule
from inkwash.random import Draws, generator

SCHEDULES = ("linear", "quadratic", "cosine", "sigmoid", "vp", "flow", "edm")
WEIGHTINGS = ("uniform", "min_snr", "soft_min_snr", "p2", "sigmoid", "edm")
DETERMINISTIC = ("ddim", "heun", "dpmpp_2m", "dpmpp_3m", "unipc")


def made(*overrides: str) -> Any:
    """Return the configuration of conf/ with overrides."""
    return compose("data.batch_size=8", *overrides)


def times(value: float, n: int) -> Tensor:
    return torch.full((n,), value, dtype=torch.float64)


# --- 1: the chain and its closed form ---------------------------------------------------------------------------------


def chain(schedule: Schedule, x_0: Tensor, stops: list[int], draws: Draws) -> list[Tensor]:
    """Return x_t at the stops, by single steps of q(x_t | x_{t-1}) (Ho et al. 2020, eq. 2)."""
    x, found = x_0, []
    for t in range(1, stops[-1] + 1):
        x = q_step(schedule, x, times(t - 1, len(x)), times(t, len(x)), draws.normal(*x.shape).double())
        if t in stops:
            found.append(x)
    return found


def draw_chain(path: Path) -> None:
    schedule, draws = instantiate(made("schedule=cosine").schedule), Draws([generator("explain", "chain")])
    stops = [1, *range(50, 1001, 50)]
    start = torch.full((20_000, 1, 1, 1), 0.8, dtype=torch.float64)
    simulated = chain(schedule, start, stops, draws)
    alpha, sigma = (c.flatten() for c in schedule(torch.arange(1, 1001)))
    digit = to_float(Digits().load("train", (1, 8, 8)).images[2:3]).double()
    shown = [1, 100, 250, 400, 550, 700, 850, 1000]
    rows = {
        "step by step": chain(schedule, digit, shown, draws),
        "closed form": [q_sample(schedule, digit, times(t, 1), draws.normal(1, 1, 8, 8).double()) for t in shown],
    }
    figure = plt.figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.5, 1])
    axes = above.subplots()
    steps = torch.arange(1, 1001)
    axes.plot(steps, 0.8 * alpha, label=r"closed form: mean $\alpha_t x_0$")
    axes.fill_between(steps, 0.8 * alpha - sigma, 0.8 * alpha + sigma, alpha=0.2, label=r"closed form: $\pm\sigma_t$")
    mean, std = torch.stack([x.mean() for x in simulated]), torch.stack([x.std() for x in simulated])
    axes.errorbar(stops, mean, std, fmt="k.", capsize=3, label="20,000 chains: mean and deviation")
    axes.set(xlabel="t", ylabel=r"$x_t$ from $x_0 = 0.8$", title="A thousand small steps are one large one")
    axes.legend()
    tiles(below, rows, [f"t = {t}" for t in shown])
    figure.savefig(path)


# --- 2: the posterior -------------------------------------------------------------------------------------------------


def draw_posterior(path: Path) -> None:
    """Of many chains from x_0, those that pass near a point at t: where had they been at s?"""
    schedule, draws = instantiate(made("schedule=cosine").schedule), Draws([generator("explain", "posterior")])
    n, x_0, at = 2_000_000, -0.5, 0.6
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
    for axes, (s, t) in zip(panels, [(200, 300), (400, 600), (850, 900)], strict=True):
        start = torch.full((n, 1, 1, 1), x_0, dtype=torch.float64)
        x_s = q_sample(schedule, start, times(s, n), draws.normal(n, 1, 1, 1).double())
        x_t = q_step(schedule, x_s, times(s, n), times(t, n), draws.normal(n, 1, 1, 1).double())
        passing = x_s[(x_t - at).abs() < 0.01]
        mean, variance = q_posterior(
            schedule, start[:1], torch.full((1, 1, 1, 1), at).double(), times(s, 1), times(t, 1)
        )
        axes.hist(passing.flatten().numpy(), 60, density=True, alpha=0.4, label=f"{len(passing):,} chains")
        grid = torch.linspace(-2.5, 2.5, 400, dtype=torch.float64)
        density = torch.exp(-((grid - mean.flatten()) ** 2) / (2 * variance.flatten()))
        axes.plot(
            grid, density / (2 * math.pi * variance.flatten()).sqrt(), "k", label=r"$q(x_s \mid x_t, x_0)$, eq. 7"
        )
        axes.axvline(x_0, color="C1", ls=":", label=r"$x_0$")
        axes.axvline(at, color="C3", ls=":", label=r"$x_t$")
        axes.set(xlabel=rf"$x_s$, s = {s}, t = {t}", xlim=(-2.5, 2.5))
        axes.legend(fontsize=8)
    figure.suptitle("Where a chain had been, if one knows where it began: what a reverse step imitates")
    figure.savefig(path)


# --- 3: what a network may predict ------------------------------------------------------------------------------------


def draw_predictions(path: Path) -> None:
    schedule, draws = instantiate(made("schedule=cosine").schedule), Draws([generator("explain", "predictions")])
    digit, eps = to_float(Digits().load("train", (1, 8, 8)).images[2:3]), draws.normal(1, 1, 8, 8)
    shown = [1, 100, 250, 400, 550, 700, 850, 1000]
    rows: dict[str, list[Tensor]] = {r"$x_t$": [], r"$\epsilon$": [], r"$x_0$": [], r"$v$": []}
    for t in (times(t, 1) for t in shown):
        alpha, sigma = schedule(t)
        rows[r"$x_t$"].append(q_sample(schedule, digit, t, eps))
        for name, prediction in ((r"$\epsilon$", Eps()), (r"$x_0$", X0()), (r"$v$", V())):
            rows[name].append(prediction.target(digit, eps, alpha, sigma))
    figure = plt.figure(figsize=(9, 4.9), layout="constrained")
    tiles(figure, rows, [f"t = {t}" for t in shown])
    figure.suptitle(
        r"The network's input, and three targets: $v = \alpha\,\epsilon - \sigma\,x_0$ turns from $\epsilon$ to $-x_0$"
    )
    figure.savefig(path)


def tiles(figure: Any, rows: dict[str, list[Tensor]], headings: list[str]) -> None:
    """Lay images out in rows with names, under headings."""
    grid = figure.subplots(len(rows), len(headings), squeeze=False)
    for row, (line, (name, images)) in enumerate(zip(grid, rows.items(), strict=True)):
        for axes, image, heading in zip(line, images, headings, strict=True):
            axes.imshow(image.flatten(0, 2), cmap="gray", vmin=-1.5, vmax=1.5)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(heading, fontsize=9)
        line[0].set_ylabel(name)


# --- 4: schedules and weightings --------------------------------------------------------------------------------------


def draw_schedules(path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for name in SCHEDULES:
        schedule = instantiate(made(f"schedule={name}", f"prediction={'edm' if name == 'edm' else 'v'}").schedule)
        t = schedule.time_at(u)
        log_snr = 2 * schedule.half_log_snr(t)
        left.plot(u, log_snr, label=name)
        middle.plot((log_snr[1:] + log_snr[:-1]) / 2, -(u[1:] - u[:-1]) / (log_snr[1:] - log_snr[:-1]), label=name)
    left.set(
        xlabel="fraction of the time", ylabel=r"$\log\,\alpha^2 / \sigma^2$", title="Schedules: when how noisy",
        ylim=(-15, 15),
    )  # fmt: skip
    middle.set(
        xlabel=r"$\log\,\alpha^2 / \sigma^2$", ylabel="density", title="Which noise a training sees, times uniform",
        xlim=(-15, 15), ylim=(0, 0.2),
    )  # fmt: skip
    log_snr = torch.linspace(-10, 10, 400, dtype=torch.float64).view(-1, 1, 1, 1)
    alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
    for name in WEIGHTINGS:
        weight = instantiate(made(f"weighting={name}").weighting)
        right.plot(log_snr.flatten(), weight(alpha, sigma, Eps().det(alpha, sigma)).flatten(), label=name)
    right.set(
        xlabel=r"$\log\,\alpha^2 / \sigma^2$",
        ylabel=r"weight of $|\epsilon - \hat\epsilon|^2$",
        yscale="log",
        ylim=(1e-5, 1e2),
        title="Weightings",
    )
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    figure.savefig(path)


# --- 5: samplers ------------------------------------------------------------------------------------------------------


class Ring(nn.Module):
    """The best denoiser there is for eight Gaussians on a ring, images of (2, 1, 1): E[x_0 | x_t] in closed form."""

    def __init__(self, schedule: Schedule, std: float = 0.04):
        super().__init__()
        angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
        self.schedule, self.std = schedule, std
        self.means = 0.7 * torch.stack([angle.cos(), angle.sin()], 1).view(8, 1, 2, 1, 1)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Estimate:
        alpha, sigma = self.schedule(t)
        variance, error = alpha**2 * self.std**2 + sigma**2, x_t - alpha * self.means
        share = (-(error**2).sum(2, keepdim=True) / (2 * variance)).softmax(0)
        x_0 = (share * (self.means + alpha * self.std**2 / variance * error)).sum(0)
        return Estimate(x_0, eps_from(self.schedule, x_0, x_t, t))


def drawn(sampler: str, steps: int, n: int, trace: list[Tensor] | None = None) -> Tensor:
    """Return points (n, 2, 1, 1) of a sampler, all from the same noise; `trace` gets each x_t / sqrt(variance)."""
    config = made(
        "schedule=edm",
        "prediction=edm",
        f"sampler={sampler}",
        "sampler.clip=null",
        "spacing=karras",
        f"spacing.steps={steps}",
    )
    schedule, draw = instantiate(config.schedule), instantiate(config.sampler)
    if trace is not None:
        plain = draw.step

        def step(x_t: Tensor, t: Tensor, s: Tensor, run: Any) -> Tensor:
            trace.append(x_t / (0.5**2 + t.view(-1, 1, 1, 1) ** 2).sqrt() * 0.5)
            return plain(x_t, t, s, run)

        draw.step = step
    draws = Draws([generator("explain", "noise")])
    points = draw(Ring(schedule), lambda: draws.normal(n, 2, 1, 1).double())
    if trace is not None:
        trace.append(points)
    return points


def draw_samplers(path: Path) -> None:
    figure, panels = plt.subplots(1, 4, figsize=(15, 4), layout="constrained")
    for axes, (name, steps) in zip(panels, [("ddim", 200), ("ddim", 8), ("dpmpp_2m", 8)], strict=False):
        trace: list[Tensor] = []
        drawn(name, steps, 60, trace)
        path_of = torch.stack(trace).flatten(2)  # (steps + 1, n, 2)
        for i in range(60):
            axes.plot(
                path_of[:, i, 0],
                path_of[:, i, 1],
                lw=0.6,
                color="C0",
                alpha=0.6,
                marker="." if steps < 20 else "",
                ms=3,
            )
        axes.plot(path_of[-1, :, 0], path_of[-1, :, 1], "k.", ms=4)
        axes.set(title=f"sampler={name}, {steps} steps", aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    counts, exact = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128], drawn("heun", 4000, 500)
    for name in DETERMINISTIC:
        errors = [float((drawn(name, n, 500) - exact).flatten(1).norm(dim=1).mean()) for n in counts]
        cost = [2 * n - 1 if name == "heun" else n for n in counts]
        panels[3].loglog(cost, errors, marker=".", label=name)
    panels[3].set(xlabel="network evaluations", ylabel="distance to the exact flow's end", title="Error against cost")
    panels[3].grid(alpha=0.3, which="both")
    panels[3].legend(fontsize=8)
    figure.savefig(path)


DRAWINGS = {
    "chain": draw_chain, "posterior": draw_posterior, "predictions": draw_predictions, "schedules": draw_schedules,
    "samplers": draw_samplers,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", choices=DRAWINGS)
    options = parser.parse_args()
    mpl.use("Agg")
    mpl.rcParams.update({"savefig.dpi": 110, "axes.spines.top": False, "axes.spines.right": False})
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        if options.only in (None, name):
            draw(options.out / f"{name}.png")
            print(options.out / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
