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
from droplab.stats.looks import checked_looks, level_of, look_at
from droplab.stats.measure import ACCURACY, MEASURES, Measure
from droplab.stats.planning import SeedsNeeded, seeds_needed
from droplab.stats.variance import over_folds, over_seeds, over_seeds_and_examples

Verdict = Literal["helps", "hurts", "equivalent", "undecided", "does not apply"]

ROUNDING = 1e-12
"""Accuracies are quotients of whole numbers: differences that vary by less than this do not vary."""


@dataclass(frozen=True)
class Comparison:
    """What the paired results of two arms allow to say.

    Attributes:
        difference: mean of a − b, of accuracies as a fraction (0.01 is one percentage point).
        low: lower end of the interval that the verdict is read from, at the level of its look and of its family; `None`
            where the differences have no spread, or the comparison does not apply or is not judged.
        high: upper end, likewise.
        p_value: two-sided, for no difference, of this comparison alone; `None` likewise.
        seeds: number of pairs.
        verdict: what it comes to.
        examples: how many each seed was compared on one by one, so that the interval speaks of new examples, too;
            `None` where only accuracies were given: then it speaks of these examples.
        p_adjusted: as one of its family, where it is part of one; else `None`.
        probability_of_improvement: share of the seeds in which a was better, ties counted half (Bouthillier et al.
            2021); `None` for one seed.
        seeds_needed: how many seeds would settle it; `None` where it is settled, for one seed, without spread, and
            where no number of seeds does, because these examples are too few.
        margin: `equivalent` means that the difference is shown to be smaller than this.
        confidence: 1 − the error that this look may make, over all comparisons of the family.
        same_low: lower end of the interval that `equivalent` is read from: of two one-sided tests, each at
            1 − `confidence`.
        same_high: upper end, likewise.
        look: which of the looks at a growing study this is, from 1; `None` where it is looked at once.
        moderated: whether the spread is estimated with the help of the family's other arms.
        metric: what was compared, a name in `stats.measure.MEASURES`; of some less is better.
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
    seeds_needed: SeedsNeeded | None = None
    margin: float = 0.001
    confidence: float = 0.95
    same_low: float | None = None
    same_high: float | None = None
    look: int | None = None
    moderated: bool = False
    metric: str = "accuracy"

    @property
    def measure(self) -> Measure:
        """What was compared."""
        return MEASURES[self.metric]

    @property
    def gain(self) -> float:
        """How much better a is: the difference, whatever the metric's direction."""
        return self.measure.sign * self.difference

    def told_as(self, metric: str) -> Comparison:
        """The same of another metric: its differences as they are, where they were judged times the metric's sign."""
        found = replace(self, metric=metric)
        if found.measure.sign > 0:
            return found
        ends = ((self.low, self.high), (self.same_low, self.same_high))
        (low, high), (same_low, same_high) = (
            (None if high is None else -high, None if low is None else -low) for low, high in ends
        )
        return replace(found, difference=-self.difference, low=low, high=high, same_low=same_low, same_high=same_high)

    @property
    def words(self) -> str:
        """The verdict as a sentence, its numbers in the metric's unit."""
        change = self.measure.change
        if self.verdict == "does not apply":
            return "Does not apply: the networks of both arms are the same."
        difference = self.measure.change_words(self.difference)
        if self.low is None or self.high is None:
            if self.seeds == 1:
                return f"Undecided: {difference} in one seed; one seed cannot tell an effect from chance."
            if self.probability_of_improvement is None:
                return f"Undecided: {difference} in {self.seeds} seeds so far, fewer than the next look at it needs."
            return f"Undecided: {difference} in each of {self.seeds} seeds; without any spread nothing can be inferred."
        kind = f"{percent(self.confidence)} interval{'' if self.p_adjusted is None else ' for all comparisons at once'}"
        found = f"{difference}, {kind} {change(self.low)} to {change(self.high)}"
        if self.seeds == 1:
            return (
                f"Undecided: {found} for new examples (McNemar p {p_words(self.p_value)}), but these are two single "
                "networks: one seed says nothing about other seeds."
            )
        if self.examples:
            found += " for new seeds and new examples"
        if self.look is not None:
            found += f" (look {self.look}, {self.seeds} seeds)"
        if self.verdict == "equivalent":
            ends = f"{change(self.same_low or 0.0)} to {change(self.same_high or 0.0)}"
            tests = f"two one-sided tests at {percent(1 - self.confidence)}: {ends}"
            return f"Equivalent within ±{self.measure.margin_words(self.margin)} ({tests}): {difference}."
        if self.verdict == "undecided":
            room = f"{self.seeds} seeds leave room for no difference and for one that matters."
            return f"Undecided: {found}; {room}{self._ahead}"
        return f"{self.verdict.capitalize()}: {found}."

    @property
    def _ahead(self) -> str:
        """What would settle it."""
        if self.seeds_needed:
            return f" If difference and spread are as seen, it takes {self.seeds_needed.words}."
        if self.examples and self.difference:
            return f" No number of seeds would show it on {self.examples:,} examples: more test examples are needed."
        return ""


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    margin: float = 0.001,
    confidence: float = 0.95,
    examples: tuple[ArrayLike, ArrayLike] | None = None,
    looks: Sequence[int] | None = None,
) -> Comparison:
    """Compare two arms over the seeds they share.

    Accuracies are compared by Student's t on the differences: that speaks of new seeds on these examples. Right and
    wrong by example are compared by two-way variance components (seeds, examples, rest) with t degrees of freedom: that
    speaks of new seeds *and* new examples. Neither speaks of another data set.

    The verdict is `equivalent` if two one-sided tests (Schuirmann 1987), each at 1 − confidence, put the mean
    difference inside ±margin, also where it is significantly not 0; else `helps` or `hurts` if the interval leaves out
    0; else `undecided`. Differences that do not vary at all give no interval and stay `undecided`: an accuracy is a
    whole number of examples, so a few seeds agree by chance. One seed is always `undecided`: right and wrong by example
    then give McNemar's exact test and the interval of Agresti & Min (2005), which are about these two networks alone.

    Whoever adds seeds until something shows must say so beforehand: with `looks` each look spends a part of the error
    (`stats.looks`), and all of them together keep it, for `helps` and `hurts` and for `equivalent`.

    Args:
        a: of the one arm: accuracies as fractions, shape (S,), or 1 and 0 (right, wrong), shape (S, N).
        b: of the other arm, the same shape, with the same seeds and examples in the same order.
        margin: the largest difference that does not matter, > 0, as a fraction.
        confidence: of the verdict, over all looks, between 0 and 1.
        examples: the ids of a's and of b's examples, each of shape (N,); refused if they differ.
        looks: the numbers of seeds at which a verdict is looked at, as `(3, 5, 8)`; S must be one of them.

    Raises:
        DataError: if `a` and `b` are not of one shape as above, not finite or, by example, not 0 and 1; if the ids
            differ or are not one an example; or if S is none of the looks.
        ConfigError: if `margin`, `confidence` or `looks` is out of range.

    >>> compare([0.982, 0.984, 0.983], [0.979, 0.980, 0.981]).verdict
    'helps'
    >>> compare([0.982, 0.984, 0.983], [0.979, 0.980, 0.981], looks=(3, 5, 8)).verdict
    'undecided'
    """
    check_levels(margin, confidence)
    planned = checked_looks(looks) if looks is not None else None
    first, second = checked(a, b)
    _check_ids(examples, first.shape)
    if planned is None:
        return judge(first - second, margin, 1 - confidence)
    look = look_at(len(first), planned)
    return replace(judge(first - second, margin, level_of(look, 1 - confidence, len(planned))), look=look)


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
    check_levels(margin, confidence)
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError(f"differences must be finite numbers, one a seed; found shape {values.shape}: {values}.")
    return judge(values, margin, 1 - confidence)


def judge(
    differences: NDArray[np.float64], margin: float, level: float, strict: float | None = None, folds: int = 0
) -> Comparison:
    """What differences allow to say, by themselves.

    Args:
        differences: shape (S,) or (S, N).
        margin: as `compare`.
        level: the error that may be made, of the family where it is one of several.
        strict: that of this comparison for `helps` and `hurts`; `None` for `level`.
        folds: where the differences are of the folds of repeated cross-validation, how many a repetition has.
    """
    seeds = len(differences)
    by_example = differences.shape[1] if differences.ndim == 2 else None
    by_seed = differences if by_example is None else differences.mean(axis=1)
    unsure = unjudged(by_seed, margin, level, by_example)
    if seeds == 1:
        return unsure if by_example is None else _one_seed(unsure, differences[0])
    unsure = replace(unsure, probability_of_improvement=improvement(by_seed))
    if np.ptp(differences) < ROUNDING:
        return unsure
    if folds:
        estimate = over_folds(differences, folds)
    else:
        estimate = over_seeds(differences) if by_example is None else over_seeds_and_examples(differences)
    error, strict = float(np.sqrt(estimate.variance)), level if strict is None else strict
    found = verdict_of(
        replace(unsure, p_value=2 * float(special.stdtr(estimate.df, -abs(estimate.mean) / error))),
        float(special.stdtrit(estimate.df, 1 - strict / 2)) * error,
        float(special.stdtrit(estimate.df, 1 - level)) * error,
    )
    if found.verdict != "undecided" or folds:
        return found
    of_seeds = estimate.of_seeds * (seeds - 1) / special.chdtri(seeds - 1, [0.1, 0.9])
    of_examples = estimate.of_examples, estimate.examples_df
    needed = seeds_needed(estimate.mean, seeds, margin, (strict, level), of_seeds, of_examples)
    return replace(found, seeds_needed=needed)


def verdict_of(unsure: Comparison, reach: float, same_reach: float) -> Comparison:
    """With its intervals, and the verdict that they give.

    Args:
        unsure: without.
        reach: half of the interval that leaves out 0 where it `helps` or `hurts`.
        same_reach: half of the interval that lies within the margin where it is `equivalent`.
    """
    mean = unsure.difference
    low, high, same_low, same_high = mean - reach, mean + reach, mean - same_reach, mean + same_reach
    verdict: Verdict = "helps" if low > 0 else "hurts" if high < 0 else "undecided"
    if -unsure.margin < same_low and same_high < unsure.margin:
        verdict = "equivalent"
    return replace(unsure, low=low, high=high, same_low=same_low, same_high=same_high, verdict=verdict)


def unjudged(by_seed: NDArray[np.float64], margin: float, level: float, examples: int | None = None) -> Comparison:
    """Differences that nothing is concluded from: too few, or not all that a look needs."""
    mean, confidence = float(by_seed.mean()), 1 - level
    return Comparison(mean, None, None, None, len(by_seed), "undecided", examples, margin=margin, confidence=confidence)


def does_not_apply(seeds: int) -> Comparison:
    """The comparison of two arms whose networks are the same, with `seeds` seeds."""
    return Comparison(0.0, None, None, None, seeds, "does not apply")


def improvement(by_seed: NDArray[np.float64]) -> float:
    """Share of the differences that are positive, those of 0 counted half."""
    return float(np.mean((by_seed > ROUNDING) + 0.5 * (np.abs(by_seed) <= ROUNDING)))


def percent(share: float) -> str:
    """A share in per cent, with as many digits as tell it.

    >>> percent(0.95), percent(0.98333)
    ('95 %', '98.3 %')
    """
    return f"{100 * share:.3g} %"


def points(fraction: float) -> str:
    """A difference of accuracies (a fraction) in percentage points, signed, in words that never say −0.00."""
    return ACCURACY.change(fraction)


def p_words(p_value: float | None) -> str:
    """A p-value as a table shows it."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


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


def check_levels(margin: float, confidence: float) -> None:
    """Raise `ConfigError` unless both can be."""
    if not 0 < margin < np.inf or not 0 < confidence < 1:
        raise ConfigError(
            f"margin must be a positive number and confidence lie between 0 and 1; found {margin=}, {confidence=}."
        )


def checked(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two arms' results as numbers of one shape; raises as `compare`."""
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
