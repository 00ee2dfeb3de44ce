"""Conformal prediction: sets of classes and intervals of numbers that hold the truth as often as they say.

Rows that a model was not trained on are scored by how far the truth lies from what it says; what nearly all of them
stay below bounds the score of a further row (Vovk, Gammerman & Shafer 2005, "Algorithmic Learning in a Random World";
Lei et al. 2018 for numbers). It holds on average over rows like the calibration rows, for any model, however bad.

N calibration rows, M rows asked about, C classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from droplab.errors import ConfigError, DataError

_Floats = NDArray[np.float64]


def score_bound(scores: ArrayLike, confidence: float) -> float:
    """What the score of one more row stays at or below with probability `confidence`, at least.

    It is the ⌈(N + 1) · confidence⌉-th smallest score; infinite where there are too few rows to say.

    Args:
        scores: of the calibration rows, shape (N,).
        confidence: between 0 and 1.

    Raises:
        ConfigError: if `confidence` is not between 0 and 1.
        DataError: if a score is no number.

    >>> score_bound([0.3, 0.1, 0.2, 0.4], 0.8), score_bound([0.3, 0.1, 0.2, 0.4], 0.9)
    (0.4, inf)
    """
    found = np.asarray(scores, dtype=np.float64)
    _check(confidence)
    if np.isnan(found).any():
        raise DataError(f"scores of rows must be numbers; found NaN in row {int(np.isnan(found).argmax())}.")
    rank = math.ceil(round((len(found) + 1) * confidence, 9))  # 100 · 0.07 is 7.000000000000001
    return float(np.partition(found, rank - 1)[rank - 1]) if rank <= len(found) else math.inf


def fewest_rows(confidence: float) -> int:
    """With how many calibration rows `score_bound` first says anything.

    Raises:
        ConfigError: as `score_bound`.

    >>> fewest_rows(0.9), fewest_rows(0.95)
    (9, 19)
    """
    _check(confidence)
    return math.ceil(round(confidence / (1 - confidence), 9))


def class_scores(probabilities: ArrayLike, labels: ArrayLike) -> _Floats:
    """1 less the probability of the true class (LAC; Sadinle, Lei & Wasserman 2019), shape (N,).

    Args:
        probabilities: shape (N, C).
        labels: true classes, 0 … C − 1, shape (N,).
    """
    given, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    scores: _Floats = 1 - given[np.arange(len(truth)), truth]
    return scores


def bounds_by_class(scores: ArrayLike, labels: ArrayLike, classes: int, confidence: float) -> _Floats:
    """A bound for each class from the rows that are of it: coverage holds within every class (Mondrian), shape (C,).

    Args:
        scores: of the calibration rows, shape (N,).
        labels: true classes of these, shape (N,).
        classes: C; a class with too few rows has an infinite bound, so it is in every set.
        confidence: between 0 and 1.

    Raises:
        ConfigError, DataError: as `score_bound`.
    """
    found, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    return np.array([score_bound(found[truth == one], confidence) for one in range(classes)])


def class_sets(probabilities: ArrayLike, bound: float | _Floats) -> NDArray[np.bool_]:
    """Which classes are in the set of each row: those whose score the bound allows, shape (M, C).

    A set is empty where no class is likely enough: the row is unlike those calibrated on.

    Args:
        probabilities: shape (M, C).
        bound: of `score_bound`, or one a class, of `bounds_by_class`.
    """
    sets: NDArray[np.bool_] = 1 - np.asarray(probabilities, dtype=np.float64) <= bound
    return sets


def distance_scores(truth: ArrayLike, predictions: ArrayLike) -> _Floats:
    """How far predictions are from the truth, elementwise, both of one shape; the bound is half of an interval."""
    scores: _Floats = np.abs(np.asarray(truth, dtype=np.float64) - np.asarray(predictions, dtype=np.float64))
    return scores


def quantile_scores(truth: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> _Floats:
    """How far the truth lies outside of predicted quantiles, negative inside (CQR; Romano, Patterson & Candès 2019).

    Elementwise, all of one shape.
    """
    value = np.asarray(truth, dtype=np.float64)
    scores: _Floats = np.maximum(np.asarray(lower, np.float64) - value, value - np.asarray(upper, np.float64))
    return scores


def widened(lower: ArrayLike, upper: ArrayLike, bound: float | _Floats) -> tuple[_Floats, _Floats]:
    """Intervals moved outward by the bound of their scores; of single predictions, `lower` and `upper` are the same.

    A negative bound narrows; an interval that it would turn over becomes its middle.

    Args:
        lower: shape (M,), or (M, outputs).
        upper: of the same shape.
        bound: of `score_bound`; one an output, shape (outputs,).

    Returns:
        The lower and upper ends.
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    middle = (low + high) / 2
    return np.minimum(low - bound, middle), np.maximum(high + bound, middle)


def _check(confidence: float) -> None:
    if isinstance(confidence, str) or not 0 < confidence < 1:
        raise ConfigError(f"confidence must be a number between 0 and 1, as 0.9; found {confidence!r}.")
