"""What numbers as targets settle: how they are scaled, what networks are trained for, what outputs say in their unit.

N rows, T targets, Q levels of quantiles, R networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from droplab.errors import ConfigError, DataError
from droplab.model.losses import Loss, Output, numbers_of, output_of, scaling_of
from droplab.stats.conformal import distance_scores, quantile_scores


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numbers that networks are trained for.

    Attributes:
        loss: what they are trained by.
        levels: Q, ascending; empty but for quantiles.
        flat: whether `y` has the shape (N,); else (N, T).
        mean: what is taken off each target, shape (T,).
        scale: what it is then divided by, shape (T,).
    """

    loss: Loss
    levels: tuple[float, ...]
    flat: bool
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(
        cls, y: NDArray[Any], weights: NDArray[np.floating], loss: Loss, levels: tuple[float, ...], scaled: bool
    ) -> Self:
        """What the first rows' targets settle.

        Args:
            y: finite numbers, shape (N,) or (N, T).
            weights: of the rows, shape (N,).
            loss: what networks are trained by.
            levels: of quantiles.
            scaled: whether targets are scaled, as `scaling_of` has it.

        Raises:
            DataError: if `poisson` is asked for numbers below 0, or for none above.
        """
        table = y.reshape(len(y), -1).astype(np.float64)
        mean, scale = np.zeros(table.shape[1]), np.ones(table.shape[1])
        if loss == "poisson":
            _check_counts(table)
        if scaled and weights.any():
            mean, scale = scaling_of(loss, table, weights)
        return cls(loss, levels, y.ndim == 1, mean, scale)

    @property
    def outputs(self) -> int:
        """T · Q."""
        return len(self.mean) * max(len(self.levels), 1)

    @property
    def output(self) -> Output:
        """What outputs stand for, before they are scaled back."""
        return output_of(self.loss)

    def numbers(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """The scaled targets, shape (N, T).

        Raises:
            DataError: if there are not T of them, or numbers below 0 for `poisson`.
        """
        table = y.reshape(len(y), -1).astype(np.float64)
        if table.shape[1] != len(self.mean):
            raise DataError(
                f"y must have {len(self.mean)} numbers a row, as at first; found {table.shape[1]}. Fit anew."
            )
        if self.loss == "poisson":
            _check_counts(table, some=False)
        return np.asarray((table - self.mean) / self.scale)

    def check_same(self, y: NDArray[Any]) -> None:
        """Whether there are T targets."""
        self.numbers(y)

    def check_classes(self, classes: Any) -> None:
        """Numbers have none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("numbers have no classes; leave classes out.")

    def strata(self, y: NDArray[Any]) -> None:
        """One of all rows."""

    def said(self, outputs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Numbers in the unit of `y`, shape (R, N, T, Q), Q = 1 but for quantiles."""
        levels = max(len(self.levels), 1)
        numbers = numbers_of(self.output, torch.from_numpy(outputs.astype(np.float64)), levels).numpy()
        numbers = numbers.reshape(*outputs.shape[:2], -1, levels) * self.scale[:, None] + self.mean[:, None]
        return numbers.astype(outputs.dtype)

    def told(self, said: NDArray[np.floating]) -> NDArray[np.floating]:
        """Of shape (N, T, Q) without T where `y` had none, and without Q where it is 1."""
        said = said[..., 0] if said.shape[2] == 1 else said
        return said[:, 0] if self.flat else said

    def scores(self, said: NDArray[np.floating], y: NDArray[Any]) -> NDArray[np.float64]:
        """How wrong `said`, shape (N, T, Q), is of `y`, shape (N, T); of several quantiles how far outside of them."""
        truth = y.reshape(len(y), -1)
        if len(self.levels) > 1:
            return quantile_scores(truth, said[..., 0], said[..., -1])
        return distance_scores(truth, said[..., 0])


def _check_counts(table: NDArray[np.float64], some: bool = True) -> None:
    if (table < 0).any() or (some and not table.any(axis=0).all()):
        raise DataError(
            "Some value(s) of y are out of the valid range of the loss 'poisson': it needs numbers of at least 0, and "
            f"some above; found {table.min():g} … {table.max():g}. Use another loss."
        )
