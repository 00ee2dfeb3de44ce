"""Planning: how many seeds a comparison needs."""

from __future__ import annotations

import math

from scipy import special

from droplab.errors import ConfigError

POWER = 0.8
"""The chance of finding a difference that is there which plans aim at."""

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


def seeds_needed(
    effect: float, of_seeds: float, of_examples: float, examples_df: float, confidence: float
) -> int | None:
    """How many seeds would find a difference with power 0.8, or `None` where no number does.

    Args:
        effect: the true mean difference.
        of_seeds: variance of a seed's mean difference, on the given examples.
        of_examples: the part of the mean's variance that comes from the choice of examples and that no seed removes.
        examples_df: degrees of freedom of that part.
        confidence: 1 − the test's level.
    """
    if not effect:
        return None
    if of_examples and _power(effect, of_examples, examples_df, confidence) < POWER:
        return None
    return _smallest(effect, of_seeds, of_examples, examples_df, POWER, confidence)


def _smallest(
    effect: float, of_seeds: float, of_examples: float, examples_df: float, power: float, confidence: float
) -> int:
    def enough(seeds: int) -> bool:
        of_mean = of_seeds / seeds
        variance = of_mean + of_examples
        df = variance**2 / (of_mean**2 / (seeds - 1) + of_examples**2 / examples_df) if variance else math.inf
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
