"""Trend: whether a result rises or falls along an axis such as depth or rate, and whether in a straight line.

L levels of the axis, S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from droplab.errors import DataError
from droplab.stats.compare import compare_differences
from droplab.stats.intervals import t_interval

Shape = Literal[
    "straight",
    "rises and then falls",
    "rises and then levels off",
    "holds and then falls",
    "falls and then rises",
    "falls and then levels off",
    "holds and then rises",
]


_FLAT = 0.25
"""A side of a bend that is less than this share of the other side, and is not sure itself, is told as flat."""


@dataclass(frozen=True)
class Trend:
    """A straight line along an axis, over seeds, and whether the results bend away from it.

    Attributes:
        slope: change of the metric a unit of the axis, mean over seeds.
        low: lower end of its 95 % interval; `None` without spread or with one seed.
        high: upper end, likewise.
        p_value: two-sided, for no slope; `None` likewise.
        seeds: how many.
        highest: the level where the mean is highest.
        top: that mean, as a fraction.
        bend: how far a parabola through the results is above its chord in the middle of the axis, mean over seeds, as a
            fraction; `None` with two levels.
        bend_p: two-sided, for no bend; `None` likewise, without spread or with one seed.
        shape: `straight` where nothing speaks against a line, which few seeds seldom do; `None` where that cannot be
            told: with two levels, without spread or with one seed.
    """

    slope: float
    low: float | None
    high: float | None
    p_value: float | None
    seeds: int
    highest: float
    top: float
    bend: float | None = None
    bend_p: float | None = None
    shape: Shape | None = None

    @property
    def is_straight(self) -> bool | None:
        """Whether nothing speaks against a straight line; `None` where that cannot be told."""
        return None if self.shape is None else self.shape == "straight"


def trend(levels: ArrayLike, values: ArrayLike, confidence: float = 0.95) -> Trend:
    """Fit a line to each seed's results and test the mean of the slopes by Student's t; likewise whether they bend.

    Every seed gives one slope and one bend, so what a seed has in common along the axis is no evidence (the
    summary-statistics approach to repeated measures, Crowder & Hand 1990, chapter 2). The bend is the contrast of the
    second orthogonal polynomial on these levels (Fisher 1925, section 28; Narula 1979 for levels that are not evenly
    spread). A line does not fit if the bend is significant, or if the mean is highest, or lowest, at a level in between
    and that level differs from both ends, each at the level of the test divided by the levels in between.

    Args:
        levels: of the axis, shape (L,), at least two different.
        values: of a metric, shape (L, S).
        confidence: of the interval, between 0 and 1; what is beyond it is significant.

    Raises:
        DataError: if the shapes do not fit, the levels are all one, or a value is not finite.
        ConfigError: if `confidence` is out of range.

    >>> round(trend([1, 2, 3], [[0.90, 0.91], [0.91, 0.93], [0.93, 0.94]]).slope, 3)
    0.015
    >>> trend([1, 2, 3], [[0.90, 0.91, 0.90], [0.95, 0.955, 0.95], [0.92, 0.93, 0.925]]).shape
    'rises and then falls'
    """
    x, y = _checked(levels, values)
    centred = x - x.mean()
    # Slopes are compared in a unit in which they are differences of two fractions, whatever that of the axis is.
    unit = float(np.abs(centred).sum() / (centred @ centred))
    slope = compare_differences(centred @ y / np.abs(centred).sum(), confidence=confidence)
    low, high = (None if end is None else end * unit for end in (slope.low, slope.high))
    top = _top(y)
    line = Trend(slope.difference * unit, low, high, slope.p_value, slope.seeds, float(x[top]), float(y[top].mean()))
    if len(np.unique(x)) < 3:
        return line
    bend = compare_differences(_bends(x, y), confidence=confidence)
    shape = None if bend.p_value is None else _shape(x, y, bend.difference, bend.p_value, confidence)
    return replace(line, bend=bend.difference, bend_p=bend.p_value, shape=shape)


def _bends(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each seed's parabola is above its chord in the middle of the axis, shape (S,)."""
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    scaled = (x - middle) / half  # from −1 to 1, where the square falls by 1 from the ends to the middle
    line = np.stack([np.ones_like(scaled), scaled], axis=1)
    second = scaled**2 - line @ np.linalg.lstsq(line, scaled**2, rcond=None)[0]
    bends: NDArray[np.float64] = -(second @ y) / (second @ second)
    return bends


def _shape(x: NDArray[np.float64], y: NDArray[np.float64], bend: float, bend_p: float, confidence: float) -> Shape:
    """What the means do along the axis, as far as the seeds show it."""
    between = np.unique(x)[1:-1]
    sure = 1 - (1 - confidence) / len(between)  # of a level that was picked among these
    has_peak, has_valley = (x[_top(one)] in between and all(_ends_are_below(one, sure)) for one in (y, -y))
    if bend_p >= 1 - confidence and not has_peak and not has_valley:
        return "straight"
    is_arch = bend > 0 if bend_p < 1 - confidence else has_peak
    arch = y if is_arch else -y
    rise, fall = (float((arch[_top(arch)] - end).mean()) for end in (arch[0], arch[-1]))
    up_is_sure, down_is_sure = _ends_are_below(arch, sure)
    is_up, is_down = up_is_sure or rise > _FLAT * fall, down_is_sure or fall > _FLAT * rise
    if is_up and is_down:
        return "rises and then falls" if is_arch else "falls and then rises"
    if is_up:
        return "rises and then levels off" if is_arch else "falls and then levels off"
    return "holds and then falls" if is_arch else "holds and then rises"


def _top(y: NDArray[np.float64]) -> int:
    return int(y.mean(axis=1).argmax())


def _ends_are_below(y: NDArray[np.float64], confidence: float) -> tuple[bool, bool]:
    """Whether the first, and whether the last level is below the one with the highest mean."""
    return _is_above(y[_top(y)] - y[0], confidence), _is_above(y[_top(y)] - y[-1], confidence)


def _is_above(differences: NDArray[np.float64], confidence: float) -> bool:
    found = t_interval(differences, confidence)
    return found is not None and found.low > 0


def _checked(levels: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels in rising order, and their values."""
    x, y = np.asarray(levels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or y.ndim != 2 or len(x) != len(y) or not y.shape[1] or len(np.unique(x)) < 2:
        raise DataError(
            "a trend needs two different levels or more, shape (levels,), and values of shape (levels, seeds); found "
            f"{x.tolist()} and {y.shape}."
        )
    if not np.isfinite(y).all():
        raise DataError(f"results must be finite numbers; found {y.tolist()}.")
    order = np.argsort(x, kind="stable")
    return x[order], y[order]
