"""Planning: how many seeds a comparison needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from droplab.errors import ConfigError

POWER = 0.8
"""The chance of finding a difference that is there which plans aim at."""

SAME_POWER = 0.9
"""The same for each of two one-sided tests: without an effect both come out in four of five studies."""

MOST_SEEDS = 100
"""More are not worth the training."""

_NORMAL = 1000
"""Beyond so many degrees of freedom Student's t is taken as normal: the power differs by less than 0.001."""


def plan_seeds(effect: float, spread: float, *, power: float = POWER, confidence: float = 0.95) -> int:
    """How many paired seeds find a difference, by the two-sided paired t test.

    It holds for a *given* effect and spread. Effect and spread seen in three to five seeds are themselves uncertain: a
    plan made from them keeps its power only in part (0.59 to 0.71 on the average, where 0.8 was planned).

    Args:
        effect: the true mean difference to find, as a fraction of accuracy (0.01 is one percentage point), not 0.
        spread: standard deviation of the differences over seeds, as a fraction, > 0.
        power: the chance of finding it, between 0 and 1.
        confidence: 1 − the test's level, between 0 and 1.

    Returns:
        The smallest number of seeds, at least 2, by the noncentral t distribution (Cohen 1988, section 2.3).

    Raises:
        ConfigError: if an argument is out of its range.

    >>> plan_seeds(effect=0.001, spread=0.001)
    10
    """
    if not (0 < abs(effect) < math.inf and 0 < spread < math.inf and 0 < power < 1 and 0 < confidence < 1):
        raise ConfigError(
            "a plan needs an effect that is not 0, a positive spread, and power and confidence between 0 and 1; "
            f"found {effect=}, {spread=}, {power=}, {confidence=}."
        )
    return _smallest(effect, spread**2, 0.0, math.inf, power, confidence)


def smallest_shown(seeds: int, comparisons: int, level: float) -> float:
    """The difference that so many seeds show with power 0.8, in standard deviations of a seed's difference.

    By Student's t under Bonferroni's correction, with the degrees of freedom of a study whose arms lend each other half
    of theirs.

    Args:
        seeds: of each arm, ≥ 2.
        comparisons: in the family, ≥ 1.
        level: the error that the family may make.

    >>> round(smallest_shown(5, 1, 0.05), 2)
    1.66
    """
    df = (seeds - 1) * (comparisons + 1) / 2
    critical = float(special.stdtrit(df, 1 - level / (2 * comparisons)))
    return (critical + float(special.stdtrit(df, POWER))) / math.sqrt(seeds)


class SeedsNeeded(NamedTuple):
    """About how many seeds would settle a comparison, for a spread that is as small or as large as it may well be.

    Attributes:
        low: at least so many; `None` for more than `MOST_SEEDS`.
        high: at most so many, likewise.
    """

    low: int | None
    high: int | None

    @property
    def words(self) -> str:
        """In words, as `8 to 21 seeds`."""
        if self.low is None:
            return f"more than {MOST_SEEDS} seeds: not worth it"
        if self.high is None:
            return f"{self.low} to more than {MOST_SEEDS} seeds"
        return f"{self.low} seeds" if self.low == self.high else f"{self.low} to {self.high} seeds"


def seeds_needed(
    difference: float,
    seeds: int,
    margin: float,
    levels: tuple[float, float],
    of_seeds: Sequence[float] | NDArray[np.float64],
    of_examples: tuple[float, float],
    lent: float = 0.0,
) -> SeedsNeeded | None:
    """How many seeds would settle an undecided comparison with power 0.8, if its difference is as seen.

    It is settled by showing the difference, or by showing that it lies within the margin, whichever takes fewer.

    Args:
        difference: the mean, as a fraction.
        seeds: that it was seen in.
        margin: of equivalence.
        levels: at which `helps` and `hurts` are said, and at which each one-sided test of equivalence is made.
        of_seeds: what the variance of a seed's difference may be, on the given examples: at least, and at most.
        of_examples: the part of the mean's variance that comes from the choice of examples and that no seed removes,
            and its degrees of freedom.
        lent: degrees of freedom that other arms add.

    Returns:
        More than `seeds`; `None` where no number of seeds does it.
    """
    goals = ((abs(difference), POWER, 1 - levels[0]), (margin - abs(difference), SAME_POWER, 1 - 2 * levels[1]))
    ends: list[int] = []
    for variance in of_seeds:
        each = [
            _smallest(effect, float(variance), *of_examples, power, confidence, lent)
            for effect, power, confidence in goals
            if effect > 1e-12 and _power(effect, *of_examples, confidence) >= power
        ]
        if not each:
            return None
        ends.append(max(min(each), seeds + 1))
    low, high = (None if end > MOST_SEEDS else end for end in ends)
    return SeedsNeeded(low, high)


def _smallest(
    effect: float,
    of_seeds: float,
    of_examples: float,
    examples_df: float,
    power: float,
    confidence: float,
    lent: float = 0.0,
) -> int:
    def enough(seeds: int) -> bool:
        of_mean = of_seeds / seeds
        variance = of_mean + of_examples
        df = variance**2 / (of_mean**2 / (seeds - 1 + lent) + of_examples**2 / examples_df) if variance else math.inf
        return _power(effect, variance, df, confidence) >= power

    high = 2
    while not enough(high):
        high *= 2
    low = max(high // 2, 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power(effect: float, variance: float, df: float, confidence: float) -> float:
    """Of the two-sided t test; the chance of the wrong sign is left out."""
    if not variance:
        return 1.0
    shift = abs(effect) / math.sqrt(variance)
    if df > _NORMAL or shift > 40:  # the noncentral t takes milliseconds for many degrees, and fails for large shifts
        return float(special.ndtr(shift - special.stdtrit(min(df, 1e9), (1 + confidence) / 2)))
    return 1.0 - float(special.nctdtr(df, shift, special.stdtrit(df, (1 + confidence) / 2)))
