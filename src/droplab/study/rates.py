"""Whether dropout earns its place: rates compared on valid with none, by the same seeds, example by example.

S seeds, N examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from droplab.stats.compare import Comparison, compare, percent, points

CONFIDENCE = 0.95
"""Of all comparisons together."""


@dataclass(frozen=True)
class Rates:
    """Dropout rates compared on valid, and which one it chose.

    Attributes:
        accuracies: on valid, by rate, the mean over the seeds; 0 is none.
        against_none: each other rate against 0. The intervals are Bonferroni's, so that choosing the best of several is
            not rewarded.
    """

    accuracies: Mapping[float, float]
    against_none: Mapping[float, Comparison]

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

    @property
    def chosen(self) -> float:
        """The rate with the highest accuracy on valid; of several such, the least."""
        best = max(self.accuracies.values())
        return min(rate for rate, accuracy in self.accuracies.items() if accuracy >= best - 1e-12)

    @property
    def words(self) -> str:
        """Whether dropout earned its place, and on what that rests, in a sentence or two."""
        if not self.chosen:
            others = " and ".join(f"{_share(self.accuracies[rate])} with {rate:g}" for rate in self.against_none)
            return (
                f"Dropout did not earn its place: valid accuracy is {_share(self.accuracies[0.0])} without, {others}."
            )
        found = self.against_none[self.chosen]
        measured = (
            f"valid accuracy {_share(self.accuracies[self.chosen])} against {_share(self.accuracies[0.0])} without, "
            f"{points(found.difference)} points"
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


def _share(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"
