"""Statistics: what two arms got right, paired by seed, in; an interval, a verdict and the seeds still needed out.

S seeds, N examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from droplab.errors import ConfigError, DataError
from droplab.stats.planning import POWER, seeds_needed
from droplab.stats.variance import Estimate, over_seeds, over_seeds_and_examples

Verdict = Literal["helps", "hurts", "equivalent", "undecided", "does not apply"]

_ROUNDING = 1e-12
"""Accuracies are quotients of whole numbers: differences that vary by less than this do not vary."""


@dataclass(frozen=True)
class Comparison:
    """What the paired results of two arms allow to say.

    Attributes:
        difference: mean of a − b, as a fraction (0.01 is one percentage point).
        low: lower end of the interval for it; `None` where the differences have no spread, or the comparison does not
            apply.
        high: upper end, likewise.
        p_value: two-sided, for no difference, of this comparison alone; `None` likewise.
        seeds: number of pairs.
        verdict: what it comes to.
        examples: how many each seed was compared on one by one, so that the interval speaks of new examples, too;
            `None` where only accuracies were given: then it speaks of these examples.
        p_adjusted: after Holm's correction, where the comparison is part of a family; else `None`.
        probability_of_improvement: share of the seeds in which a was better, ties counted half (Bouthillier et al.
            2021); `None` for one seed.
        seeds_needed: how many seeds find a difference of this size with power 0.8 if it and its spread are just as
            seen; `None` for one seed, for a difference of 0 or without spread, and where no number of seeds does,
            because these examples are too few.
        margin: `equivalent` means that the difference is shown to be smaller than this.
        confidence: of the interval.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    seeds: int
    verdict: Verdict
    examples: int | None = None
    p_adjusted: float | None = None
    probability_of_improvement: float | None = None
    seeds_needed: int | None = None
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
        if self.seeds == 1:
            return (
                f"Undecided: {found} for new examples (McNemar p {p_words(self.p_value)}), but these are two single "
                "networks: one seed says nothing about other seeds."
            )
        if self.examples:
            found += " for new seeds and new examples"
        if self.verdict == "equivalent":
            tests = f"two one-sided tests at {1 - self.confidence:.0%}"
            return f"Equivalent within ±{100 * self.margin:g} points ({tests}): {found}."
        if self.verdict == "undecided" and self.p_value is not None and self.p_value < 1 - self.confidence:
            chance = f"as one of several comparisons it may be chance (Holm p {p_words(self.p_adjusted)})"
            return f"Undecided: {found}; {chance}."
        if self.verdict == "undecided":
            room = f"{self.seeds} seeds leave room for no difference and for one that matters."
            return f"Undecided: {found}; {room}{self._ahead}"
        return f"{self.verdict.capitalize()}: {found}."

    @property
    def _ahead(self) -> str:
        """What would settle it."""
        if self.seeds_needed and self.seeds_needed > self.seeds:
            seeds = f"about {self.seeds_needed:,} seeds show it with power {POWER:g}"
            return f" If difference and spread are as seen, {seeds}."
        if self.seeds_needed is None and self.examples and self.difference:
            return f" No number of seeds would show it on {self.examples:,} examples: more test examples are needed."
        return ""


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    margin: float = 0.001,
    confidence: float = 0.95,
    examples: tuple[ArrayLike, ArrayLike] | None = None,
) -> Comparison:
    """Compare two arms over the seeds they share.

    Accuracies are compared by Student's t on the differences: that speaks of new seeds on these examples. Right and
    wrong by example are compared by two-way variance components (seeds, examples, rest) with t degrees of freedom: that
    speaks of new seeds *and* new examples. Neither speaks of another data set.

    The verdict is `equivalent` if two one-sided tests (Schuirmann 1987), each at 1 − confidence, put the mean
    difference inside ±margin, also where it is significantly not 0; else `helps` or `hurts` if p < 1 − confidence; else
    `undecided`. Differences that do not vary at all give no interval and stay `undecided`: an accuracy is a whole
    number of examples, so a few seeds agree by chance. One seed is always `undecided`: right and wrong by example then
    give McNemar's exact test and the interval of Agresti & Min (2005), which are about these two networks alone.

    Args:
        a: of the one arm: accuracies as fractions, shape (S,), or 1 and 0 (right, wrong), shape (S, N).
        b: of the other arm, the same shape, with the same seeds and examples in the same order.
        margin: the largest difference that does not matter, > 0, as a fraction.
        confidence: of the interval, between 0 and 1.
        examples: the ids of a's and of b's examples, each of shape (N,); refused if they differ.

    Raises:
        DataError: if `a` and `b` are not of one shape as above, not finite or, by example, not 0 and 1; or if the ids
            differ or are not one an example.
        ConfigError: if `margin` or `confidence` is out of range.

    >>> compare([0.982, 0.984, 0.983], [0.979, 0.980, 0.981]).verdict
    'helps'
    """
    first, second = _checked(a, b)
    _check_ids(examples, first.shape)
    return _compared(first - second, margin, confidence)


def compare_differences(differences: ArrayLike, *, margin: float = 0.001, confidence: float = 0.95) -> Comparison:
    """As `compare`, of what is a difference already: of accuracies, or of differences between them.

    Args:
        differences: one a seed, as fractions, shape (S,).
        margin: as `compare`.
        confidence: as `compare`.

    Raises:
        DataError: if `differences` is not of that shape, or not finite.
        ConfigError: as `compare`.

    >>> compare_differences([0.004, 0.005, 0.0045]).verdict
    'helps'
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError(f"differences must be finite numbers, one a seed; found shape {values.shape}: {values}.")
    return _compared(values, margin, confidence)


def _compared(differences: NDArray[np.float64], margin: float, confidence: float) -> Comparison:
    """What differences of shape (S,) or (S, N) allow to say."""
    if not 0 < margin < np.inf or not 0 < confidence < 1:
        raise ConfigError(
            f"margin must be a positive number and confidence lie between 0 and 1; found {margin=}, {confidence=}."
        )
    seeds = len(differences)
    by_example = differences.shape[1] if differences.ndim == 2 else None
    mean = float(differences.mean())
    unsure = Comparison(mean, None, None, None, seeds, "undecided", by_example, margin=margin, confidence=confidence)
    if seeds == 1:
        return unsure if by_example is None else _one_seed(unsure, differences[0])
    by_seed = differences if by_example is None else differences.mean(axis=1)
    better = float(np.mean((by_seed > _ROUNDING) + 0.5 * (np.abs(by_seed) <= _ROUNDING)))
    unsure = replace(unsure, probability_of_improvement=better)
    if np.ptp(differences) < _ROUNDING:
        return unsure
    estimate = over_seeds(differences) if by_example is None else over_seeds_and_examples(differences)
    return _judged(unsure, estimate)


def does_not_apply(seeds: int) -> Comparison:
    """The comparison of two arms that one run serves, with `seeds` seeds."""
    return Comparison(0.0, None, None, None, seeds, "does not apply")


def family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons as members of one family: p-values corrected by Holm (1979), verdicts by these.

    In a family in which nothing differs, `helps` or `hurts` is then said at all with probability 1 − confidence at
    most. `equivalent` is not corrected. Comparisons without a p-value, and those of one seed, stay as they are and
    count for nothing.
    """
    from statsmodels.stats.multitest import multipletests

    members = [i for i, one in enumerate(comparisons) if one.p_value is not None and one.seeds > 1]
    judged = list(comparisons)
    if members:
        p_values = [comparisons[i].p_value for i in members]
        for i, p_adjusted in zip(members, multipletests(p_values, method="holm")[1], strict=True):
            one = comparisons[i]
            verdict = one.verdict
            if verdict != "equivalent":
                verdict = _verdict(one.difference, float(p_adjusted), one.confidence)
            judged[i] = replace(one, p_adjusted=float(p_adjusted), verdict=verdict)
    return judged


def points(fraction: float) -> str:
    """A difference of accuracies (a fraction) in percentage points, signed, in words that never say −0.00."""
    return f"{100 * fraction:+.2f}".replace("-", "−") if abs(fraction) >= 0.00005 else "0.00"


def p_words(p_value: float | None) -> str:
    """A p-value as a table shows it."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _judged(unsure: Comparison, estimate: Estimate) -> Comparison:
    """With interval, p-value and verdict."""
    error, mean = float(np.sqrt(estimate.variance)), estimate.mean
    reach = float(special.stdtrit(estimate.df, (1 + unsure.confidence) / 2)) * error
    p_value = 2 * float(special.stdtr(estimate.df, -abs(mean) / error))
    inside = float(special.stdtr(estimate.df, (abs(mean) - unsure.margin) / error)) < 1 - unsure.confidence
    needed = seeds_needed(
        mean if abs(mean) > _ROUNDING else 0.0,
        estimate.of_seeds,
        estimate.of_examples,
        estimate.examples_df,
        unsure.confidence,
    )
    return replace(
        unsure,
        low=mean - reach,
        high=mean + reach,
        p_value=p_value,
        verdict="equivalent" if inside else _verdict(mean, p_value, unsure.confidence),
        seeds_needed=needed,
    )


def _verdict(mean: float, p_value: float, confidence: float) -> Verdict:
    if p_value < 1 - confidence:
        return "helps" if mean > 0 else "hurts"
    return "undecided"


def _one_seed(unsure: Comparison, differences: NDArray[np.float64]) -> Comparison:
    """Two networks on the same examples: McNemar's exact test; the interval adds half an example to each cell."""
    from statsmodels.stats.contingency_tables import mcnemar

    examples = len(differences)
    only_a, only_b = int((differences > 0).sum()), int((differences < 0).sum())
    p_value = float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue) if only_a + only_b else 1.0
    b, c, n = only_a + 0.5, only_b + 0.5, examples + 2
    center = (b - c) / n
    reach = float(special.ndtri((1 + unsure.confidence) / 2)) * float(np.sqrt((b + c) / n - center**2) / np.sqrt(n))
    return replace(unsure, low=center - reach, high=center + reach, p_value=p_value)


def _checked(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("results to compare must be arrays of numbers; found something else.") from None
    if first.shape != second.shape or first.ndim not in (1, 2) or not first.size:
        raise DataError(
            "results to compare must have one shape, (seeds,) or (seeds, examples), the same seeds and examples for "
            f"both arms; found {first.shape} and {second.shape}."
        )
    for values in (first, second):
        if first.ndim == 2 and not np.isin(values, (0, 1)).all():
            raise DataError("results by example must be 1 (right) or 0 (wrong); found other values.")
        if not ((values >= 0) & (values <= 1)).all():
            raise DataError(f"accuracies must be fractions from 0 to 1; found {values.tolist()}.")
    if first.ndim == 2 and first.shape[1] < 2:
        raise DataError("results by example need two examples or more; found one. Give accuracies of shape (seeds,).")
    return first, second


def _check_ids(examples: Any, shape: tuple[int, ...]) -> None:
    if examples is None:
        return
    if len(shape) == 1:
        raise DataError("ids of examples belong to results of shape (seeds, examples); found accuracies by seed.")
    ids = [np.asarray(one) for one in examples]
    if len(ids) != 2 or any(one.shape != shape[1:] for one in ids):
        raise DataError(
            f"`examples` must be the ids of a's and of b's {shape[1]} examples; found shapes "
            f"{', '.join(str(one.shape) for one in ids)}."
        )
    if not np.array_equal(ids[0], ids[1]):
        place = int(np.flatnonzero(ids[0] != ids[1])[0])
        raise DataError(
            f"both arms must be compared on the same examples in the same order; example {place} is {ids[0][place]} "
            f"in a and {ids[1][place]} in b."
        )
