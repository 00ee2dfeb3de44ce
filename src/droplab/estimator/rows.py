"""Rows of a table that networks are trained on: features (sparse ones stay so until they are used), targets, weights.

R networks, N rows, B of a batch, F features, O outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

CHUNK = 1024
"""Rows computed at once at inference."""

_NUMBERS_AT_ONCE = 2**22
"""Features taken from the table in one go: many small steps share the calls, large ones do not need to."""


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
    def of(cls, X: Any, dtype: torch.dtype, device: torch.device) -> Features:
        """Of an array or a sparse matrix, shape (N, F)."""
        table = X.tocsr() if sparse.issparse(X) else torch.tensor(X, dtype=dtype, device=device)
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
            rows = torch.from_numpy(dense).to(self.device, self.dtype)
        return rows.view(*picked.shape, -1)

    def chunks(self) -> Iterator[tuple[int, Tensor]]:
        """The rows in order, `CHUNK` at a time: (the first row's number, shape (1, B, F))."""
        for start in range(0, len(self), CHUNK):
            picked = torch.arange(start, min(start + CHUNK, len(self)), device=self.device)
            yield start, self.take(picked[None])


class Batch(NamedTuple):
    """Rows that R networks make a step with.

    Attributes:
        features: shape (R, B, F).
        targets: shape (R, B, O).
        shares: the weight of each row over that of all, shape (R, B).
        inverse: 1 over the weight of all, shape (R,).
    """

    features: Tensor
    targets: Tensor
    shares: Tensor
    inverse: Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with what the networks should say of them.

    Attributes:
        features: of N rows.
        targets: 1 for what is true of a row and 0 for the rest, shape (N, O).
        weights: shape (N,).
    """

    features: Features
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, features: Features, targets: Any, weights: Any) -> Rows:
        """Of arrays of shapes (N, O) and (N,)."""
        made = (
            torch.tensor(np.asarray(part), dtype=features.dtype, device=features.device) for part in (targets, weights)
        )
        return cls(features, *made)

    def __len__(self) -> int:
        return len(self.features)

    def batches(self, order: Tensor, size: int) -> Iterator[Batch]:
        """The rows in batches.

        Args:
            order: which rows, as each network is given them, shape (R, n), `int64`.
            size: rows of a batch; the last has what is left.
        """
        at_once = size * max(_NUMBERS_AT_ONCE // (order.shape[0] * size * self.features.table.shape[1]), 1)
        for picked in torch.split(order, at_once, dim=1):
            weights = self.weights[picked]
            padded = torch.nn.functional.pad(weights, (0, -picked.shape[1] % size))
            totals = padded.view(len(weights), -1, size).sum(dim=2)
            inverse = torch.where(totals > 0, 1 / totals, 0)  # a batch in which nothing counts moves nothing
            shares = weights * inverse.repeat_interleave(size, dim=1)[:, : weights.shape[1]]
            kinds = (self.features.take(picked), self.targets[picked], shares)
            steps = zip(*(torch.split(kind, size, dim=1) for kind in kinds), inverse.unbind(dim=1), strict=True)
            yield from itertools.starmap(Batch, steps)

    def only(self, numbers: Any) -> Rows:
        """Some of the rows, by their numbers."""
        picked = torch.as_tensor(numbers, device=self.features.device)
        table = self.features.table
        part = table.index_select(0, picked) if isinstance(table, Tensor) else table[np.asarray(numbers)]
        return Rows(replace(self.features, table=part), self.targets[picked], self.weights[picked])
