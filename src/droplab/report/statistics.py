"""Statistics: accuracies paired by seed in, an interval and a verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from droplab.errors import ConfigError, DataError

Verdict = Literal["helps", "hurts", "equivalent", "undecided", "does not apply"]

_ROUNDING = 1e-12
"""Accuracies are quotients of whole numbers: differences that vary by less than this do not vary."""


@dataclass(frozen=True)
class Comparison:
    """What the paired accuracies of two arms allow to say.

    Attributes:
        difference: mean of a − b, as a fraction (0.01 is one percentage point).
        low: lower end of the interval for it; `None` where the differences have no spread (one seed, say) or the
            comparison does not apply.
        high: upper end, likewise.
        p_value: two-sided, for no difference, not corrected for the number of comparisons; `None` likewise.
        seeds: number of pairs.
        verdict: what it comes to.
        margin: `equivalent` means that the difference is shown to be smaller than this.
        confidence: of the interval.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    seeds: int
    verdict: Verdict
    margin: float = 0.001
    confidence: float = 0.95

    @property
    def words(self) -> str:
        """The verdict as a sentence, its numbers in percentage points of accuracy."""
        if self.verdict == "does not apply":
            return "Does not apply: without a hidden layer one network serves both arms."
        difference = f"{points(self.difference)} points"
        if self.low is None or self.high is None:
            if self.seeds == 1:
                return f"Undecided: {difference} in one seed; one seed cannot tell an effect from chance."
            return f"Undecided: {difference} in each of {self.seeds} seeds; without any spread nothing can be inferred."
        found = f"{difference}, {self.confidence:.0%} interval {points(self.low)} to {points(self.high)}"
        if self.verdict == "equivalent":
            tests = f"two one-sided tests at {1 - self.confidence:.0%}"
            return f"Equivalent within ±{100 * self.margin:g} points ({tests}): {found}."
        if self.verdict == "undecided":
            return f"Undecided: {found}; {self.seeds} seeds leave room for no difference and for one that matters."
        return f"{self.verdict.capitalize()}: {found}."


def paired(
    a: NDArray[np.float64], b: NDArray[np.float64], *, margin: float = 0.001, confidence: float = 0.95
) -> Comparison:
    """Compare two arms over the seeds they share, by Student's t on the differences.

    The verdict is `equivalent` if two one-sided tests (Schuirmann 1987), each at 1 − confidence, put the mean
    difference inside ±margin; else `helps` or `hurts` if p < 1 − confidence; else `undecided`. Differences that do not
    vary at all give no interval and stay `undecided`: an accuracy is a whole number of examples, so a few seeds agree
    by chance. What the seeds vary is covered, another data set is not.

    Args:
        a: accuracies of the one arm, shape (seeds,), as fractions.
        b: accuracies of the other arm with the same seeds in the same order, shape (seeds,).
        margin: the largest difference that does not matter, > 0.
        confidence: of the interval, between 0 and 1.

    Raises:
        DataError: if `a` and `b` are not finite, of one shape (seeds,), with at least one seed.
        ConfigError: if `margin` or `confidence` is out of range.

    >>> paired(np.array([0.982, 0.984, 0.983]), np.array([0.979, 0.980, 0.981])).verdict
    'helps'
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError(
            "paired accuracies must be finite, one a seed, the same seeds for both arms; "
            f"found shapes {a.shape} and {b.shape}, values {a.tolist()} and {b.tolist()}."
        )
    if not 0 < margin < np.inf or not 0 < confidence < 1:
        raise ConfigError(
            f"margin must be a positive number and confidence lie between 0 and 1; found {margin=}, {confidence=}."
        )
    differences = a - b
    seeds, mean = len(differences), float(differences.mean())
    if np.ptp(differences) < _ROUNDING:
        return Comparison(mean, None, None, None, seeds, "undecided", margin, confidence)
    error = float(differences.std(ddof=1) / np.sqrt(seeds))
    student = stats.t(df=seeds - 1)
    reach = float(student.ppf((1 + confidence) / 2)) * error
    p_value = float(2 * student.sf(abs(mean) / error))
    inside = float(student.sf((margin - abs(mean)) / error)) < 1 - confidence
    verdict = _verdict(mean, p_value, inside, confidence)
    return Comparison(mean, mean - reach, mean + reach, p_value, seeds, verdict, margin, confidence)


def does_not_apply(seeds: int) -> Comparison:
    """The comparison of two arms that one run serves, with `seeds` seeds."""
    return Comparison(0.0, None, None, None, seeds, "does not apply")


def _verdict(mean: float, p_value: float, inside: bool, confidence: float) -> Verdict:
    if inside:
        return "equivalent"
    if p_value < 1 - confidence:
        return "helps" if mean > 0 else "hurts"
    return "undecided"


def points(fraction: float) -> str:
    """A difference of accuracies (a fraction) in percentage points, signed, in words that never say −0.00."""
    return f"{100 * fraction:+.2f}".replace("-", "−") if abs(fraction) >= 0.00005 else "0.00"
