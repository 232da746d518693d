"""Metrics that store a row for each image, because no sum over images gives their value."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from inkwash.errors import UserError
from inkwash.metrics.base import Batch, Measure, RealImages
from inkwash.metrics.moments import check_finite


def gather(rows: Tensor) -> Tensor:
    """Concatenate the rows (n_r, ...) of all ranks r: any n_r, also 0, but equal trailing shapes and dtypes."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    return torch.cat(gather_all_tensors(rows))


class ByIndex(Measure):
    """Rows of numbers, one for each image, in the images' order whichever rank measured which.

    An image that was measured twice, as by samplers that pad the ranks' parts, counts once.

    Args:
        width: length of a row; None if `prepare` sets it.
        row_dtype: dtype of the rows.
    """

    index: list[Tensor]
    rows: list[Tensor]

    def __init__(self, width: int | None = None, row_dtype: torch.dtype = torch.float32):
        super().__init__(sync_on_compute=False)  # torchmetrics cannot gather from a rank without images
        self.width, self.row_dtype = width, row_dtype
        self.add_state("index", [])
        self.add_state("rows", [])

    def add(self, index: Sequence[int] | Tensor, rows: Tensor) -> None:
        check_finite(rows)
        self.index.append(torch.as_tensor(index, dtype=torch.int64, device=rows.device))
        self.rows.append(rows.detach())

    def gathered(self) -> Tensor:
        """Return the rows of all ranks, (n, width), by index."""
        index, rows = torch.empty(0, dtype=torch.int64, device=self.device), None
        if self.rows:
            index, rows = torch.cat(self.index), torch.cat(self.rows)
        elif self.width is not None:
            rows = torch.empty(0, self.width, dtype=self.row_dtype, device=self.device)
        if rows is None:
            raise UserError("no image has been measured")
        index, rows = gather(index), gather(rows)
        index, order = index.sort(stable=True)
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        return rows[order[first]]


class FeatureMetric(ByIndex):
    """Base class of metrics of all features at once: `update(index, features (B, d))`; a new one writes `score`.

    In a Suite such metrics share one store of features.
    """

    def prepare(self, real: RealImages, num_images: int) -> None:
        super().prepare(real, num_images)
        self.width = real.extractor.dim

    def observe(self, batch: Batch) -> None:
        self.update(batch.index, batch.features)

    def update(self, index: Sequence[int] | Tensor, features: Tensor) -> None:
        """Store features (B, d). Raises UserError, storing none of them, if some are not finite."""
        self.add(index, features)

    def score(self, features: Tensor) -> float | dict[str, float]:
        """Return the value, or one for each of `keys`, of features (n, d) in the images' order."""
        raise NotImplementedError

    def compute(self) -> float | dict[str, float]:
        return self.score(self.gathered())
