"""Make matrices orthogonal by Newton-Schulz iterations, for Muon: U S V^T becomes about U V^T."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, bmm  # which is @ without the time to tell what it is given

# Of p(s) = a s + b s^3 + c s^5. It is steep at 0, so that few steps suffice, for which it gives up to converge to 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LEAST_NORM = 1e-7  # a matrix of zeros stays one


def orthogonalised(tensors: Sequence[Tensor], steps: int = 5, gram: bool = False) -> list[Tensor]:
    """Return for each tensor, as the matrix U S V^T of its first dimension and all others, about U V^T in its shape.

    Matrices of one size are computed together: of small ones a processor does several in the time of one.

    Args:
        gram: iterate by `newton_schulz_by_gram` where float32 is computed in, which is not on a GPU.
    """
    results: list[Tensor | None] = [None] * len(tensors)
    sizes: dict[Any, list[int]] = {}
    matrices = []
    for i, tensor in enumerate(tensors):
        matrix = tensor.reshape(len(tensor), -1)  # a copy of a kernel that is stored channels last
        matrices.append(matrix.mT if len(matrix) > matrix[0].numel() else matrix)
        sizes.setdefault((tensor.device, tensor.dtype, matrices[i].shape), []).append(i)
    stacks = {size: torch.stack([matrices[i] for i in places]) for size, places in sizes.items()}
    for size, stack in _iterated(stacks, steps, gram).items():
        for i, matrix in zip(sizes[size], stack.to(size[1]), strict=True):
            rows = len(tensors[i])
            results[i] = (matrix if len(matrix) == rows else matrix.mT).reshape(tensors[i].shape)
    return results  # pyright: ignore[reportReturnType]


def _iterated(stacks: dict[Any, Tensor], steps: int, gram: bool) -> dict[Any, Tensor]:
    """Return each stack of matrices of one (device, dtype, shape) after the iteration, in the type it computes in."""
    done, by_rows = {}, {}
    for size, stack in stacks.items():
        device, _, (rows, _) = size
        if device.type == "cuda":
            done[size] = newton_schulz(stack.bfloat16(), steps)
        elif not gram:
            done[size] = newton_schulz(stack.float(), steps)
        else:
            by_rows.setdefault((device, rows), {})[size] = stack.float()
    for stacks_of_rows in by_rows.values():
        done |= zip(stacks_of_rows, newton_schulz_by_gram([*stacks_of_rows.values()], steps), strict=True)
    return done


def newton_schulz(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return about U V^T for each matrix U S V^T: (batch, rows, columns), with rows <= columns.

        X_0 = X / |X|_F,   X_(k+1) = a X_k + b (X_k X_k^T) X_k + c (X_k X_k^T)^2 X_k

    Each step maps a singular value s to p(s) = a s + b s^3 + c s^5 and leaves U and V. Five steps take those of X_0
    above 0.003 into [0.68, 1.21], which serves as well as 1.
    """
    a, b, c = COEFFICIENTS
    x = _scaled(matrices)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def newton_schulz_by_gram(stacks: Sequence[Tensor], steps: int = 5) -> list[Tensor]:
    """Return what `newton_schulz` does for stacks of matrices that have equal rows, by way of G = X X^T.

        P_k = a I + b G_k + c G_k^2,   G_(k+1) = P_k G_k P_k,   X_steps = P_(steps - 1) ... P_0 X_0

    G has rows x rows numbers, whatever the columns are, so that all stacks are iterated as one. Kernels of 3 x 3 have
    nine times as many columns, and take a third of the time. G holds the squares of the singular values, those below
    0.001 only roughly, which changes the result by 0.002 of its largest number at most in float32. A type of fewer
    bits would not do.
    """
    scaled = [_scaled(stack) for stack in stacks]
    gram = torch.cat([bmm(x, x.mT) for x in scaled])
    p = product = _polynomial(gram)
    for _ in range(steps - 1):
        gram = bmm(bmm(p, gram), p)
        p = _polynomial(gram)
        product = bmm(p, product)
    factors = product.split([len(stack) for stack in stacks])
    return [bmm(factor, x) for factor, x in zip(factors, scaled, strict=True)]


def _polynomial(gram: Tensor) -> Tensor:
    """Return a I + b G + c G^2."""
    a, b, c = COEFFICIENTS
    p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    p.diagonal(dim1=1, dim2=2).add_(a)
    return p


def _scaled(matrices: Tensor) -> Tensor:
    """Return matrices whose Frobenius norm is 1, and with it all singular values at most."""
    return matrices / torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp(min=LEAST_NORM)
