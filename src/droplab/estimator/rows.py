"""Rows of a table that networks are trained on: features (sparse ones stay so until they are used), targets, weights.

R networks, N rows, B of a batch, S batches, F features, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from droplab.errors import DataError
from droplab.train.examples import wrapped

CHUNK = 1024
"""Rows computed at once at inference."""

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64}


@dataclass(frozen=True, eq=False)
class Features:
    """The features of N rows.

    Attributes:
        table: shape (N, F), a tensor on the device, or CSR, of which each batch is made dense by itself.
        dtype: what networks are given.
        device: where they are given it.
    """

    table: Tensor | Any
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, X: Any, dtype: torch.dtype, device: torch.device, names: Sequence[str] | None = None) -> Features:
        """Of an array or a sparse matrix, shape (N, F), with the columns' names if there are any.

        Raises:
            DataError: if a number is too large for `dtype`.
        """
        if sparse.issparse(X):
            with np.errstate(over="ignore"):
                table = X.tocsr().astype(_NUMPY[dtype], copy=False)
            fits = bool(np.isfinite(table.data).all())
        else:
            table = _tensor(X, dtype, device)
            fits = bool(table.isfinite().all())
        if not fits:
            raise DataError(
                f"features must be at most {torch.finfo(dtype).max:.2g} in magnitude, as {str(dtype)[6:]} holds them; "
                f"found {largest(X, names)}. Correct it, or scale the features (StandardScaler)."
            )
        return cls(table, dtype, device)

    def __len__(self) -> int:
        return int(self.table.shape[0])

    def take(self, picked: Tensor) -> Tensor:
        """Rows, shape (R, B, F).

        Args:
            picked: which, shape (R, B), `int64`.
        """
        if isinstance(self.table, Tensor):
            rows = self.table.index_select(0, picked.reshape(-1))
        else:
            dense = self.table[picked.reshape(-1).cpu().numpy()].toarray()
            rows = torch.from_numpy(dense).to(self.device)
        return rows.view(*picked.shape, -1)

    def chunks(self) -> Iterator[tuple[int, Tensor]]:
        """The rows in order, `CHUNK` at a time: (the first row's number, shape (1, B, F))."""
        for start in range(0, len(self), CHUNK):
            rows = self.table[start : start + CHUNK]
            yield start, (rows if isinstance(rows, Tensor) else torch.from_numpy(rows.toarray()).to(self.device))[None]


def _tensor(array: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """However the array lies in memory: reversed, in columns, read-only, in the other order of bytes."""
    with np.errstate(over="ignore"):
        return wrapped(np.asarray(array, dtype=_NUMPY[dtype])).to(device)


def largest(X: Any, names: Sequence[str] | None, row: int | None = None) -> str:
    """The number of the largest magnitude in a table or in one of its rows, and where it is, in words.

    Args:
        X: shape (N, F), an array or sparse.
        names: of the columns, if they have any.
        row: to look at alone.
    """
    part = X if row is None else X[[row]]
    cells = part.tocoo() if sparse.issparse(part) else sparse.coo_array(part)
    at = int(np.abs(cells.data).argmax()) if cells.nnz else 0
    value, i, j = (cells.data[at], cells.row[at], cells.col[at]) if cells.nnz else (0.0, 0, 0)
    column = repr(str(names[j])) if names is not None else str(j)
    return f"{value:g} in row {i if row is None else row}, column {column} (the first row is 0)"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with what the networks should say of them.

    Attributes:
        features: of N rows.
        targets: as `network.Batch` has them, shape (N,) or (N, O).
        weights: shape (N,).
    """

    features: Features
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, features: Features, targets: Any, weights: Any) -> Rows:
        """Of arrays; `targets` are of shape (N,), class numbers, or (N, O), 0 and 1.

        Raises:
            DataError: if weights are too large or too small to divide by their sum.
        """
        dtypes = (torch.int64 if targets.ndim == 1 else features.dtype, features.dtype)
        made = [_tensor(*each, features.device) for each in zip((targets, weights), dtypes, strict=True)]
        total = float(made[1].sum())
        if not 0 < total < math.inf:
            raise DataError(
                f"sample_weight, times class_weight, must be above 0 somewhere and have a finite sum as "
                f"{str(features.dtype)[6:]}; found {total:g}, and {float(np.max(weights)):g} as the highest. Scale the "
                "weights."
            )
        return cls(features, *made)

    def __len__(self) -> int:
        return len(self.features)

    def shares(self, picked: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The weight of rows over that of their batch, shape (R, n), and 1 over the weight of each batch, shape (R, S).

        Args:
            picked: which rows, shape (R, n), `int64`.
            sizes: rows of each batch; together n.
        """
        weights, lengths = self.weights[picked], torch.tensor(sizes, device=picked.device)
        totals = torch.segment_reduce(weights, "sum", lengths=lengths.expand(len(weights), -1), axis=1)
        inverse = torch.where(totals > 0, 1 / totals, 0)  # a batch in which nothing counts moves nothing
        return weights * inverse.repeat_interleave(lengths, dim=1), inverse

    def only(self, numbers: Any) -> Rows:
        """Some of the rows, by their numbers."""
        picked = torch.as_tensor(numbers, device=self.features.device)
        table = self.features.table
        part = table.index_select(0, picked) if isinstance(table, Tensor) else table[np.asarray(numbers)]
        return Rows(replace(self.features, table=part), self.targets[picked], self.weights[picked])
