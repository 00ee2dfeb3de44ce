"""Trend: whether a result rises or falls along an axis such as depth or rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from droplab.errors import DataError
from droplab.stats.compare import Comparison, compare


@dataclass(frozen=True)
class Trend:
    """A straight line along an axis, over seeds.

    Attributes:
        slope: change of accuracy a unit of the axis, mean over seeds, as a fraction.
        low: lower end of its 95 % interval; `None` without spread or with one seed.
        high: upper end, likewise.
        p_value: two-sided, for no slope; `None` likewise.
        seeds: how many.
    """

    slope: float
    low: float | None
    high: float | None
    p_value: float | None
    seeds: int


def trend(levels: ArrayLike, values: ArrayLike, confidence: float = 0.95) -> Trend:
    """Fit a line to each seed's results and test the mean of the slopes by Student's t.

    Every seed gives one slope, so what a seed has in common along the axis is no evidence (the summary-statistics
    approach to repeated measures, Crowder & Hand 1990, chapter 2). A curve that rises and falls again has no trend.

    Args:
        levels: of the axis, shape (L,), at least two different.
        values: accuracies as fractions, shape (L, S).
        confidence: of the interval, between 0 and 1.

    Raises:
        DataError: if the shapes do not fit or the levels are all one.

    >>> round(trend([1, 2, 3], [[0.90, 0.91], [0.91, 0.93], [0.93, 0.94]]).slope, 3)
    0.015
    """
    x, y = np.asarray(levels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or y.ndim != 2 or len(x) != len(y) or not y.shape[1] or len(np.unique(x)) < 2:
        raise DataError(
            "a trend needs two different levels or more, shape (levels,), and values of shape (levels, seeds); found "
            f"{x.tolist()} and {y.shape}."
        )
    centred = x - x.mean()
    weights = centred / (centred @ centred)
    # The slopes as differences of two parts that are fractions both, whatever the axis' unit.
    unit = float(np.abs(weights).sum())
    up, down = np.clip(weights, 0, None) @ y / unit, np.clip(-weights, 0, None) @ y / unit
    found: Comparison = compare(up, down, confidence=confidence)
    low, high = (None if end is None else end * unit for end in (found.low, found.high))
    return Trend(found.difference * unit, low, high, found.p_value, found.seeds)
