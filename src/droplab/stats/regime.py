"""Regime: in what state a training was when it stopped, from its curves.

P evaluated points.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from droplab.errors import DataError

Regime = Literal["improving", "finished", "overfitting", "diverged"]

PARTS = 5
"""Into how many stretches of equal length a curve is cut; the level of each is its median."""

TOLERANCE = 0.01
"""The share of what the levels span in all that a difference between two of them must exceed."""

LEAST_CHANGE = 0.01
"""The share of the loss itself that it must exceed."""

LEVEL = 0.05
"""How often a flat curve may show a rise, and how often a fall, that is only noise."""

FEWEST_POINTS = 4
"""That tell noise from a trend: noise alone puts so many in falling order once in 24 times."""

GAP = 0.2
"""By which share train loss must be below valid loss to be clearly below it."""

GUESSING = 0.99
"""From which share of log(classes) on a loss is no better than a guess."""


def regime(valid: ArrayLike, train: ArrayLike, classes: int) -> Regime | None:
    """Say in what state a training was when it stopped.

    `diverged`: the last loss is not finite, or on train it is no better than that of a guess, log(classes), and does
    not fall: the network knows nothing, whether it ever did or not. `overfitting`: valid loss is clearly above what
    it was in some earlier fifth of the points, and clearly above train loss. `improving`: it is clearly lower in the
    last fifth than in the one before. `finished`: none of these; also where both losses rose, as a strong penalty has
    it.

    Two fifths differ clearly if their medians do by more than `TOLERANCE` of what the fifths span in all, by more
    than `LEAST_CHANGE` of the loss itself, and by more than noise: Student's t with P − 3 degrees of freedom, for
    overfitting with Bonferroni's correction for the earlier fifths. The noise is taken from third differences of the
    curve, which a smooth trend hardly has (von Neumann 1941 has it from first ones), by their median, so that neither
    a steep start nor a single jump counts. Fewer than ten points hardly show it; there the last `FEWEST_POINTS`
    differ clearly from noise, too, if each is lower, or each higher, than the one before.

    A guess by the shares of uneven classes has a loss below log(classes): a network that learned no more than them is
    not called diverged.

    Args:
        valid: loss on valid with dropout off at evenly spread points, the last one at the end, in nats, shape (P,).
        train: the same on train.
        classes: how many there are, ≥ 2; 1 where targets are numbers, of which a guess has half their variance, 0.5.

    Returns:
        `None` where it cannot be told: nothing was held out, or of fewer than `FEWEST_POINTS` points not each is lower
        than the one before.

    Raises:
        DataError: if the losses are not of one shape (P,) with P ≥ 1.

    >>> regime([1.0, 0.6, 0.4, 0.3, 0.25], [0.9, 0.5, 0.3, 0.2, 0.1], classes=10)
    'improving'
    >>> regime([1.0, 0.4, 0.5, 0.6, 0.7], [0.9, 0.3, 0.1, 0.03, 0.01], classes=10)
    'overfitting'
    """
    on_valid, on_train = _checked(valid, train)
    held_out = not np.isnan(on_valid).all()
    if not np.isfinite(on_train[-1]) or (held_out and not np.isfinite(on_valid[-1])):
        return "diverged"
    guess = math.log(classes) if classes > 1 else 0.5
    if on_train[-1] >= GUESSING * guess and not _falls(on_train[np.isfinite(on_train)]):
        return "diverged" if len(on_train) > 1 else None
    losses = on_valid[np.isfinite(on_valid)]
    if _falls(losses) and not _has_risen(losses):
        return "improving"
    if len(losses) < FEWEST_POINTS:
        return None
    return "overfitting" if _has_risen(losses) and has_gap(on_valid, on_train) else "finished"


def has_gap(valid: ArrayLike, train: ArrayLike) -> bool:
    """Whether train loss is below valid loss by more than `GAP` of it in the last fifth of the points.

    Args:
        valid: as `regime`.
        train: as `regime`.

    Raises:
        DataError: as `regime`.

    >>> has_gap([0.5, 0.4], [0.4, 0.1]), has_gap([0.5, 0.4], [0.5, 0.38])
    (True, False)
    """
    on_valid, on_train = _checked(valid, train)
    end = slice(-max(len(on_valid) // PARTS, 1), None)
    return bool(np.median(on_train[end]) < (1 - GAP) * np.median(on_valid[end]))


def _falls(losses: NDArray[np.float64]) -> bool:
    """Whether the last fifth is clearly below the one before; of few points, whether each is below the one before."""
    if len(losses) < FEWEST_POINTS:
        return len(losses) > 1 and bool((np.diff(losses) < 0).all())
    levels = _levels(losses)
    return _is_clear(levels[-2] - levels[-1], -losses, levels, 1)


def _has_risen(losses: NDArray[np.float64]) -> bool:
    """Whether the last fifth is clearly above some earlier one."""
    if len(losses) < FEWEST_POINTS:
        return False
    levels = _levels(losses)
    return _is_clear(levels[-1] - levels[:-1].min(), losses, levels, len(levels) - 1)


def _levels(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([np.median(part) for part in np.array_split(losses, min(PARTS, len(losses)))])


def _is_clear(rise: float, losses: NDArray[np.float64], levels: NDArray[np.float64], compared: int) -> bool:
    """Whether a rise of the last level is more than noise, and large enough to matter.

    Args:
        rise: of the last level over another one.
        losses: whose last ones would rise, shape (P,).
        levels: the fifths' medians.
        compared: from how many levels the other one was picked.
    """
    if rise <= max(TOLERANCE * float(np.ptp(levels)), LEAST_CHANGE * float(levels.min())):
        return False
    points, each = len(losses), len(losses) // len(levels)
    if each == 1 and (np.diff(losses[-FEWEST_POINTS:]) > 0).all():
        return True
    noise = float(np.median(np.abs(np.diff(losses, 3)))) / (math.sqrt(20) * float(special.ndtri(0.75)))
    error = noise * math.sqrt(math.pi / each)  # of the difference of two medians: √(π/2) that of means
    return rise > float(special.stdtrit(points - 3, 1 - LEVEL / compared)) * error


def _checked(valid: ArrayLike, train: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    on_valid, on_train = np.asarray(valid, dtype=np.float64), np.asarray(train, dtype=np.float64)
    if on_valid.shape != on_train.shape or on_valid.ndim != 1 or not len(on_valid):
        raise DataError(
            "curves must have one shape, (points,), with a point at least, for valid and train; found "
            f"{on_valid.shape} and {on_train.shape}."
        )
    return on_valid, on_train
