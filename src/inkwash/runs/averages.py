"""Find how to combine snapshots of averaged weights to an average of another length (Karras et al. 2024, section 3).

A power-function average of exponent gamma + 1 (ema.PowerDecay) holds, after update n, the weights of the updates
tau = 0 .. n in the proportions

    p(tau) = (gamma + 1) tau^gamma / n^(gamma + 1),        0 <= tau <= n.

Its length is the standard deviation of p over n, sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3))): the paper's
sigma_rel. Another average, of another length, is approached by the combination of stored snapshots whose proportions
are nearest to its own in the least squares, under the inner product of p and q, the integral of p(tau) q(tau) (the
paper's appendix C). training/callbacks/snapshots.py stores the snapshots, checkpoints/posthoc.py adds them up.

Without torch.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from inkwash.errors import UserError

STEP = re.compile(r"step-(\d+)\.safetensors")
PREFIX = "posthoc_"
LONGEST = 1 / math.sqrt(12)  # of gamma = 0, the plain mean of all updates
# Largest error of the proportions, in parts of their norm, of an average that is worth the name.
MOST_ERROR = 0.3


def exponent_of(length: float) -> float:
    """Return gamma + 1 of the average of a length (sigma_rel).

    gamma is the largest root of gamma^3 + 7 gamma^2 + (16 - length^-2) gamma + 12 - length^-2.

    Raises:
        UserError: no power function has this length.
    """
    if not 0 < length < LONGEST:
        raise UserError(f"length={length:g} of an average must lie between 0 and {LONGEST:.4g}: 0.05, 0.1, for example")
    square = length**-2
    roots = np.roots([1, 7, 16 - square, 12 - square])
    return float(max(root.real for root in roots if abs(root.imag) < 1e-6)) + 1


def length_of(exponent: float) -> float:
    """Return the length (sigma_rel) of the average of an exponent gamma + 1."""
    return math.sqrt(exponent / ((exponent + 1) ** 2 * (exponent + 2)))


def inner(n_a: np.ndarray, exponent_a: np.ndarray, n_b: np.ndarray, exponent_b: np.ndarray) -> np.ndarray:
    """Return the integrals of p_a(tau) p_b(tau) of averages after n updates, elementwise, float64."""
    power = np.where(n_a < n_b, exponent_b - 1, 1 - exponent_a)
    return exponent_a * exponent_b * (n_a / n_b) ** power / ((exponent_a + exponent_b - 1) * np.maximum(n_a, n_b))


def coefficients(
    n: Sequence[float], exponents: Sequence[float], target_n: float, target_exponent: float
) -> tuple[np.ndarray, float]:
    """Return the combination of snapshots nearest to another average, and how far it is.

    Args:
        n: updates of each snapshot, (S,).
        exponents: gamma + 1 of each, (S,).

    Returns:
        The coefficients (S,), of sum 1; and the norm of the error of the proportions over the norm of these.
    """
    times, powers = np.asarray(n, dtype=np.float64), np.asarray(exponents, dtype=np.float64)
    target = np.float64(target_n), np.float64(target_exponent)
    products = inner(times[:, None], powers[:, None], times[None], powers[None])
    with_target = inner(times, powers, *map(np.asarray, target))
    x = np.linalg.solve(products, with_target)
    x = x / x.sum()
    norm = float(inner(*map(np.asarray, (*target, *target))))
    error = norm - 2 * x @ with_target + x @ products @ x
    return x, math.sqrt(max(0.0, error) / norm)


@dataclass(frozen=True)
class Snapshot:
    """A file of snapshots/: averages after `step` updates, `exponents` by name."""

    path: Path
    step: int
    exponents: dict[str, float]


def files_by_step(folder: Path) -> dict[int, Path]:
    """Map steps to the snapshots of a folder, the oldest first, without reading them."""
    found = ((STEP.fullmatch(path.name), path) for path in folder.glob("step-*.safetensors"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def snapshots(folder: Path) -> list[Snapshot]:
    """Read the headers of a folder's snapshots, the oldest first.

    Raises:
        UserError: a file is damaged.
    """
    found = []
    for step, path in files_by_step(folder).items():
        try:
            with safe_open(path, "np") as file:
                exponents = {key: float(value) for key, value in json.loads(file.metadata()["exponents"]).items()}
        except (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error}): move it away, and the others serve without it") from error
        found.append(Snapshot(path, step, exponents))
    return found


def length_in(weights: str) -> float | None:
    """Return the length that `posthoc_0.13` names; None for names of other weights.

    Raises:
        UserError: what follows posthoc_ is not a length.
    """
    if not weights.startswith(PREFIX):
        return None
    try:
        length = float(weights.removeprefix(PREFIX))
    except ValueError:
        raise UserError(f"weights={weights} must be {PREFIX}LENGTH, {PREFIX}0.1 for example") from None
    exponent_of(length)
    return length


def parts_of(folder: Path, length: float, step: float = math.inf) -> tuple[list[tuple[Snapshot, str, float]], int]:
    """Return the snapshots that make an average, each with a name in it and its coefficient, and the step it ends at.

    That is the last snapshot's up to `step`; later ones do not count.

    Raises:
        UserError: there are no snapshots, or they cannot give this length.
    """
    exponent = exponent_of(length)
    known = [snapshot for snapshot in snapshots(folder) if snapshot.step <= step]
    if not known:
        raise UserError(
            f"weights={PREFIX}{length:g} needs snapshots, and {folder} has none of these steps: train with "
            "'callbacks=[default,posthoc]'"
        )
    each = [(snapshot, name) for snapshot in known for name in snapshot.exponents]
    end = known[-1].step
    x, error = coefficients(
        [snapshot.step for snapshot, _ in each], [snapshot.exponents[name] for snapshot, name in each], end, exponent
    )
    if error > MOST_ERROR:
        lengths = sorted({round(length_of(value), 3) for snapshot in known for value in snapshot.exponents.values()})
        near = " or ".join(f"{value:g}" for value in lengths)
        raise UserError(
            f"length={length:g}: {len(known)} snapshot{'s' * (len(known) > 1)} up to step {end} can make this average "
            f"only with an error of {error:.0%}: choose a length nearer to {near}, or train with more of them "
            "(callbacks.snapshots.every_n_steps)"
        )
    return [(snapshot, name, float(share)) for (snapshot, name), share in zip(each, x, strict=True)], end
