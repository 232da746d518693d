"""Every noise schedule of the package, for properties that hold on all of them."""

import inspect

from inkwash.process import betas, schedules
from inkwash.process.schedules import BetaSchedule, CosineSchedule, EDMSchedule, FlowSchedule, Schedule, VPSchedule

PATHS: dict[str, Schedule] = {
    "linear": BetaSchedule(betas.linear(1000)),
    "linear-4000": BetaSchedule(betas.linear(4000, scale_with_T=True)),
    "quadratic": BetaSchedule(betas.quadratic(1000)),
    "cosine": BetaSchedule(betas.cosine(1000)),
    "cosine-10": BetaSchedule(betas.cosine(10)),
    "sigmoid": BetaSchedule(betas.sigmoid(1000)),
    "flow": FlowSchedule(),
    "edm": EDMSchedule(),
    "vp": VPSchedule(),
    "cosine shifted": CosineSchedule(image_size=64, noise_size=32),
    "cosine interpolated": CosineSchedule(image_size=256, noise_size=32, noise_size_low=256),
}


def subclasses(module, base):
    """List the concrete classes of a module that implement `base`."""
    members = inspect.getmembers(module, inspect.isclass)
    return [c for _, c in members if issubclass(c, base) and c is not base and not inspect.isabstract(c)]


# A new schedule must be listed above.
assert {type(path) for path in PATHS.values()} == set(subclasses(schedules, Schedule))
