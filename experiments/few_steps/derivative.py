"""Time the derivative in loss=meanflow: a central difference beside a Jacobian-vector product, and a training step.

Processor time of one thread, the median of several, for 128 digits: python experiments/few_steps/derivative.py
"""

import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from inkwash.denoiser import Denoiser
from inkwash.losses.jumps import Velocity
from inkwash.losses.mean_flow import MeanFlowLoss
from inkwash.nets.dit import DiT
from inkwash.nets.unet import UNet
from inkwash.process.predictions import Flow
from inkwash.process.schedules import FlowSchedule
from inkwash.process.times import Uniform

ROUNDS = 7
NETS = {
    "unet_small": UNet((1, 8, 8), 32, [1, 2], 1, [], time_scale=0.02, two_times=True),
    "dit_digits": DiT((1, 8, 8), 2, 64, 4, 2, time_scale=0.001, two_times=True),
}


def seconds(call) -> float:
    """Return the median processor time of a call, after one to warm up."""
    call()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return statistics.median(found)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    z, t, s = torch.randn(128, 1, 8, 8), torch.rand(128).double(), torch.zeros(128, dtype=torch.float64)
    loss = MeanFlowLoss(Uniform(), Uniform())
    for name, net in NETS.items():
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        denoiser = Denoiser(net, FlowSchedule(), Flow())
        u = Velocity(denoiser, None, None, z.device)

        @torch.no_grad()
        def forward(u=u):
            u(z, t, s)

        @torch.no_grad()
        def difference(u=u):
            loss.target(u, z, z, z, t, s)

        @torch.no_grad()
        def product(u=u):
            v = u(z, t, t)
            with sdpa_kernel(SDPBackend.MATH):
                torch.func.jvp(lambda z, t: u(z, t, s), (z, t), (v, torch.ones_like(t)))

        def step(denoiser=denoiser):
            loss.objective(denoiser, z, z, t, None, s=s).sum().backward()

        one = seconds(forward)
        parts = {"difference": difference, "product": product, "whole step": step}
        times = {part: seconds(call) / one for part, call in parts.items()}
        print(name, f"forward {1000 * one:.0f} ms;", ", ".join(f"{part} {x:.1f}" for part, x in times.items()))


if __name__ == "__main__":
    main()
