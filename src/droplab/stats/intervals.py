"""Intervals: of one fixed model's metrics, for the chance of which test examples it met; of what one more seed gives.

N examples, C classes, S seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 999
"""Of the bootstrap; with 999 an end of an interval is the 25th smallest or largest value."""

_ROUNDING = 1e-12
"""Accuracies are quotients of whole numbers: values that vary by less than this do not vary."""


class Estimate(NamedTuple):
    """A metric of a model with its interval at `CONFIDENCE`; the ends are NaN where resamples show no spread."""

    name: str
    value: float
    low: float
    high: float

    @property
    def is_share(self) -> bool:
        """Whether it is told in per cent; the others are nats, and Brier's score."""
        return self.name not in ("NLL", "Brier")


def accuracy_interval(right: int, examples: int) -> Estimate:
    """Accuracy with Wilson's interval (1927), which stays within 0 and 1 and holds where all are right.

    Args:
        right: how many examples are classified rightly.
        examples: of how many, ≥ 1.

    >>> [round(number, 3) for number in accuracy_interval(115, 115)[1:]]
    [1.0, 0.968, 1.0]
    """
    low, high = proportion_confint(right, examples, alpha=1 - CONFIDENCE, method="wilson")
    return Estimate("accuracy", right / examples, float(low), float(high))


def metric_intervals(labels: NDArray[np.int64], log_probabilities: NDArray[np.floating]) -> list[Estimate]:
    """Accuracy, balanced accuracy, macro F1, NLL in nats and Brier's score of one model.

    All but accuracy have percentile intervals of the bootstrap over examples (Efron 1979), which cannot leave the range
    of a metric, as Student's would with a few large losses.

    Args:
        labels: true classes, shape (N,), N ≥ 1.
        log_probabilities: shape (N, C).
    """
    classes, examples = log_probabilities.shape[1], len(labels)
    logs = log_probabilities.astype(np.float64)
    predicted, of_truth = logs.argmax(axis=1), logs[np.arange(examples), labels]
    cells = labels * classes + predicted
    losses = np.stack([-of_truth, (np.exp(logs) ** 2).sum(axis=1) - 2 * np.exp(of_truth) + 1])

    def measured(rows: slice | NDArray[np.int64]) -> tuple[float, ...]:
        confusion = np.bincount(cells[rows], minlength=classes**2).reshape(classes, classes)
        return (*_shares(confusion), *losses[:, rows].mean(axis=1))

    random = np.random.default_rng(0)
    drawn = [measured(random.integers(0, examples, examples)) for _ in range(RESAMPLES)]
    ends = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    names = ("balanced accuracy", "macro F1", "NLL", "Brier")
    return [
        accuracy_interval(int((predicted == labels).sum()), examples),
        *(
            Estimate(name, float(value), *((float(low), float(high)) if low < high else (np.nan, np.nan)))
            for name, value, low, high in zip(names, measured(slice(None)), *ends, strict=True)
        ),
    ]


def next_seed_interval(values: ArrayLike) -> tuple[float, float] | None:
    """Where one more seed falls with probability `CONFIDENCE`, if seeds are normal: a prediction interval.

    mean ± t · s · √(1 + 1/S) with S − 1 degrees of freedom (Hahn & Meeker, "Statistical Intervals",
    1991, chapter 4). It is wider than an interval for the mean, which a single further value may well miss.

    Args:
        values: of the seeds that there are, shape (S,).

    Returns:
        Its ends; `None` for fewer than two seeds, or values that are all the same: then their spread is not known.

    >>> [round(end, 4) for end in next_seed_interval([0.9798, 0.9796, 0.9792])]
    [0.978, 0.9811]
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2 or np.ptp(found) < _ROUNDING:
        return None
    quantile = float(special.stdtrit(len(found) - 1, (1 + CONFIDENCE) / 2))
    reach = quantile * float(found.std(ddof=1)) * np.sqrt(1 + 1 / len(found))
    return float(found.mean() - reach), float(found.mean() + reach)


def _shares(confusion: NDArray[np.integer]) -> tuple[float, float]:
    """Balanced accuracy and macro F1 of a confusion matrix (true, predicted), as `stats.metrics` has them."""
    right, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs, named = true > 0, (true + said) > 0
    return float((right[occurs] / true[occurs]).mean()), float((2 * right[named] / (true + said)[named]).mean())
