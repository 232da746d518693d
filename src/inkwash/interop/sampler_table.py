"""A sampler at fixed steps as a table of numbers, from which files for other programs are made.

With the times fixed, all that a sampler does between two evaluations of the network is to add images with known
factors. So its whole run is

    S_1     = first [noise, z_0]
    x_k     = the first image of S_k                            the network is evaluated there, at time t_k
    S_{k+1} = update_k [S_k, x_0, eps, z]                        k = 1 ... K
    result  = the first image of S_{K+1}

S_k: the images that are still needed, x_k among them: one for DDIM, more for methods that remember or correct; x_0 and
eps: the estimates at x_k, clipped; z: one of the fresh noises. The factors are found by a run of the sampler itself on
images whose channels are factors: channel j of an image says how much of basis image j it contains.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from inkwash.denoiser import Estimate
from inkwash.errors import UserError
from inkwash.process.schedules import Schedule
from inkwash.samplers.base import Sampler


@dataclass(frozen=True)
class SamplerTable:
    """The factors of a sampler at fixed steps: float64, of K evaluations and a state of m images.

    Attributes:
        times: of the evaluations, (K,).
        first: factors of the initial noise and of the first fresh noise, (m, 2).
        updates: factors of the state, x_0, eps and a fresh noise, (K, m, m + 3).
        draws: which of the fresh noises each update takes, int64 (K,).
        num_noises: how many fresh noises there are, in the order in which the sampler draws them.
    """

    times: Tensor
    first: Tensor
    updates: Tensor
    draws: Tensor
    num_noises: int


def tabulate(sampler: Sampler, schedule: Schedule) -> SamplerTable:
    """Return the table of a sampler on a path.

    Raises:
        UserError: it does something else than adding images with known factors.
    """
    name = type(sampler).__name__
    if getattr(getattr(sampler, "variance", None), "learned", False):
        raise UserError(
            f"sampler: {name} with a learned variance cannot be written to a file, for it has other factors for each "
            "pixel: choose sampler=ddim, or sampler=ancestral with its fixed variance"
        )
    try:
        size = len(_Recorder(schedule, 0).watch(sampler).basis)
        return _Table(_Recorder(schedule, size).watch(sampler)).table()
    except UserError:
        raise
    except Exception as error:  # whatever a class of the user's own does with such images
        raise UserError(
            f"sampler: {name} cannot be written to a file, for its steps are no fixed sums of images ({error}): choose "
            "another, sampler=ddim for one"
        ) from error


@dataclass
class _Image:
    """A basis image.

    kind: noise, estimate, or sum: one that the sampler has computed and keeps.
    gap: number of evaluations before it was made.
    row: of a sum, its factors of earlier basis images, (N,).
    """

    kind: str
    gap: int
    row: Tensor | None = None


@dataclass
class _Recorder:
    """Stands in for denoiser and noise of a sampler's run, and writes down what comes of what.

    Attributes:
        basis: the basis images in the order in which they were made.
        inputs: x_k of each evaluation, and at last the result, as rows of factors (N,).
        times: of each evaluation, (1,).
    """

    schedule: Schedule
    size: int
    basis: list[_Image] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    times: list[Tensor] = field(default_factory=list)

    def watch(self, sampler: Sampler) -> "_Recorder":
        """Run the sampler without its clipping, which comes into the estimates. What it keeps are basis images."""
        probe: Any = copy.copy(sampler)
        probe.clip = None
        take = probe.step

        def step(x_t: Tensor, t: Tensor, s: Tensor, run: Any) -> Tensor:
            run.memory.update({key: self._kept(value) for key, value in run.memory.items()})
            return take(self._kept(x_t), t, s, run)

        probe.step = step
        self.inputs.append(probe(self, lambda: self._new("noise")).flatten())
        return self

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Estimate:
        self.inputs.append(x_t.flatten())
        self.times.append(t.double())
        return Estimate(self._new("estimate"), self._new("estimate"))

    def _new(self, kind: str, row: Tensor | None = None) -> Tensor:
        image = torch.zeros(1, self.size, 1, 1, dtype=torch.float64)
        image[:, len(self.basis) : len(self.basis) + 1] = 1
        self.basis.append(_Image(kind, len(self.times), row))
        return image

    def _kept(self, value: Any) -> Any:
        """Return what a step is given, each image in it a basis image."""
        if isinstance(value, list | tuple):
            return type(value)(self._kept(item) for item in value)
        is_image = isinstance(value, Tensor) and value.shape == (1, self.size, 1, 1)
        if not is_image or _place(value.flatten()) is not None:
            return value
        return self._new("sum", value.flatten())


def _place(row: Tensor) -> int | None:
    """Return the place of a row's 1 if all else is 0."""
    places = row.nonzero().flatten()
    return int(places) if len(places) == 1 and row[places] == 1 else None


class _Table:
    """Turns a record into a table: from the end to the beginning, for what is needed later must be kept.

    After `gap` evaluations the state is S_{gap + 1}. An image in it is written as a row of factors of basis images.
    """

    def __init__(self, record: _Recorder):
        self.record, self.basis = record, record.basis
        self.noises = [i for i, image in enumerate(self.basis) if image.kind == "noise"]
        gaps = range(len(record.inputs))
        self.made: list[dict[str, list[int]]] = [{"noise": [], "estimate": [], "sum": []} for _ in gaps]
        for i, image in enumerate(self.basis):
            self.made[image.gap][image.kind].append(i)
        self.states: list[list[Tensor]] = [[] for _ in gaps]  # as the sampler names the images
        self.rows: list[Tensor] = [torch.empty(0) for _ in gaps]  # with all that is new since the last evaluation
        needed: list[int] = []
        for gap in reversed(gaps):
            self.states[gap] = self._state(gap, needed)
            self.rows[gap] = torch.stack([self._expanded(row, gap) for row in self.states[gap]])
            there = self.rows[gap].any(0).nonzero().flatten().tolist()
            needed = [i for i in there if self.basis[i].gap < gap]

    def table(self) -> SamplerTable:
        fresh = [self._fresh(gap) for gap in range(len(self.rows))]
        if fresh[0] > 0:
            raise UserError("sampler: it draws noise twice before its first step, for which files have no place")
        width = max(map(len, self.states))
        return SamplerTable(
            torch.cat(self.record.times),
            _tall(torch.stack([self._column(0, self.noises[0]), self._column(0, self._noise(fresh[0]))], 1), width),
            torch.stack([self._update(gap, width, fresh[gap]) for gap in range(1, len(self.rows))]),
            torch.tensor([max(draw, 0) for draw in fresh[1:]]),
            max(fresh) + 1,
        )

    def _state(self, gap: int, needed: list[int]) -> list[Tensor]:
        """Return the rows of a state: the next x_k, and what is needed besides."""
        x = self.record.inputs[gap]
        units = torch.zeros(len(needed), len(x), dtype=x.dtype)
        units[range(len(needed)), needed] = 1
        return [x, *(unit for i, unit in zip(needed, units, strict=True) if i != _place(x))]

    def _expanded(self, row: Tensor, gap: int) -> Tensor:
        """Return a row in which sums that were made after the last evaluation are written out."""
        row = row.clone()
        for i in reversed(self.made[gap]["sum"]):
            factor, row[i] = float(row[i]), 0
            row += factor * cast(Tensor, self.basis[i].row)
        return row

    def _fresh(self, gap: int) -> int:
        """Return which fresh noise a state takes, -1 for none."""
        mine = [i for i in self.made[gap]["noise"] if i != self.noises[0]]
        found = [self.noises.index(i) - 1 for i in mine if bool(self._column(gap, i).any())]
        if len(found) > 1:
            raise UserError("sampler: it draws noise twice between two evaluations, for which files have no place")
        return found[0] if found else -1

    def _noise(self, draw: int) -> int | None:
        return self.noises[draw + 1] if draw >= 0 else None

    def _column(self, gap: int, basis: int | None) -> Tensor:
        """Return the factors of a basis image in a state; zeros for None."""
        return torch.zeros(len(self.rows[gap]), dtype=torch.float64) if basis is None else self.rows[gap][:, basis]

    def _update(self, gap: int, width: int, draw: int) -> Tensor:
        """Return the factors of the state before, x_0, eps and a fresh noise in a state, (width, width + 3)."""
        held = [_place(row) for row in self.states[gap - 1]]  # None: x_k is no basis image, and not needed as one
        sources = [*held, *[None] * (width - len(held)), *self.made[gap]["estimate"], self._noise(draw)]
        return _tall(torch.stack([self._column(gap, i) for i in sources], 1), width)


def _tall(rows: Tensor, height: int) -> Tensor:
    """Add rows of zeros."""
    return torch.cat([rows, rows.new_zeros(height - len(rows), rows.shape[1])])
