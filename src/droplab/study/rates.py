"""Whether dropout earns its place: rates compared on valid with none, by the same seeds, example by example.

S seeds, N examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from droplab.stats.compare import Comparison, compare, judge, percent, points
from droplab.stats.measure import MEASURES, Measure

CONFIDENCE = 0.95
"""Of all comparisons together."""

MARGIN = 0.001
"""Of differences; no verdict is told here."""


@dataclass(frozen=True)
class Rates:
    """Dropout rates compared on valid, and which one it chose.

    Attributes:
        values: accuracy on valid, by rate, the mean over the seeds; of numbers RMSE. 0 is none.
        against_none: each other rate against 0: differences of accuracy, or shares of the squared error without dropout
            that it saves. The intervals are Bonferroni's, so that choosing the best of several is not rewarded.
        metric: of the values, `accuracy` or `rmse`.
    """

    values: Mapping[float, float]
    against_none: Mapping[float, Comparison]
    metric: str = "accuracy"

    @classmethod
    def of(cls, right: Mapping[float, NDArray[np.bool_]]) -> Rates:
        """Compare what networks got right.

        Args:
            right: by rate, 0 and another one at least, each of shape (S, N): the same seeds and examples of valid, N at
                least 2.
        """
        others = sorted(rate for rate in right if rate)
        confidence = 1 - (1 - CONFIDENCE) / len(others)
        return cls(
            {rate: float(right[rate].mean()) for rate in (0.0, *others)},
            {rate: compare(right[rate], right[0.0], confidence=confidence) for rate in others},
        )

    @classmethod
    def of_errors(cls, squares: Mapping[float, NDArray[np.float64]]) -> Rates:
        """Compare the squared errors of networks that say numbers.

        Args:
            squares: by rate, 0 and another one at least, each of shape (S, N), as those of `of`.
        """
        others = sorted(rate for rate in squares if rate)
        level, none = (1 - CONFIDENCE) / len(others), float(squares[0.0].mean()) or 1.0
        against = {}
        for rate in others:
            saved = (squares[0.0] - squares[rate]) / none
            if len(saved) > 1:
                against[rate] = judge(saved, MARGIN, level)
            else:  # examples are all that varies
                against[rate] = replace(judge(saved[0], MARGIN, level), seeds=1, examples=saved.shape[1])
        return cls({rate: float(squares[rate].mean() ** 0.5) for rate in (0.0, *others)}, against, "rmse")

    @property
    def measure(self) -> Measure:
        """What the values are."""
        return MEASURES[self.metric]

    @property
    def unit(self) -> str:
        """Of the differences."""
        return "points" if self.metric == "accuracy" else "% of the squared error saved"

    @property
    def chosen(self) -> float:
        """The rate with the best value on valid; of several such, the least."""
        gains = {rate: self.measure.sign * value for rate, value in self.values.items()}
        return min(rate for rate, gain in gains.items() if gain >= max(gains.values()) - 1e-12)

    @property
    def words(self) -> str:
        """Whether dropout earned its place, and on what that rests, in a sentence or two."""
        told = {rate: self._told(value) for rate, value in self.values.items()}
        label = self.measure.label
        if not self.chosen:
            others = " and ".join(f"{told[rate]} with {rate:g}" for rate in self.against_none)
            return f"Dropout did not earn its place: valid {label} is {told[0.0]} without, {others}."
        found = self.against_none[self.chosen]
        measured = (
            f"valid {label} {told[self.chosen]} against {told[0.0]} without, {points(found.difference)} {self.unit}"
        )
        if found.low is None or found.high is None:
            return f"Dropout {self.chosen:g} is best on valid: {measured} in every seed, so nothing can be inferred."
        interval = f"{percent(found.confidence)} interval {points(found.low)} to {points(found.high)}"
        speaks = "new examples" if found.seeds == 1 else "new seeds and examples"
        only = " One seed says nothing about other seeds." if found.seeds == 1 else ""
        if found.low > 0:
            return f"Dropout {self.chosen:g} earned its place: {measured} ({interval} for {speaks}).{only}"
        return (
            f"Dropout {self.chosen:g} is best on valid, but chance may have done that: {measured} ({interval} for "
            f"{speaks}).{only}"
        )

    def _told(self, value: float) -> str:
        return f"{100 * value:.1f} %" if self.metric == "accuracy" else self.measure.value(value)
