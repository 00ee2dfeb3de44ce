"""Intervals: how far a mean, a share, a difference or a model's metric may be from the truth.

N examples, C classes, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from droplab.stats.metrics import number_metrics
from droplab.stats.variance import over_folds

CONFIDENCE = 0.95
RESAMPLES = 999
"""Of the bootstrap; with 999 an end of an interval is the 25th smallest or largest value."""


_ROUNDING = 1e-12
"""Values whose range is below this are one value: metrics are quotients of whole numbers, or means of many losses."""


class Interval(NamedTuple):
    """A value and how far its interval reaches to either side, at `CONFIDENCE` unless said; both in one unit."""

    value: float
    reach: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value - self.reach

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self.reach


def t_interval(values: Sequence[float] | NDArray[np.floating], confidence: float = CONFIDENCE) -> Interval | None:
    """Student's interval (1908) for the mean of which `values` are a sample.

    Args:
        values: one a seed, shape (S,), in any unit.
        confidence: of the interval, between 0 and 1.

    Returns:
        `None` where the values have no spread: of one seed, of seeds that agree by chance, or not all finite.

    >>> found = t_interval([0.97, 0.98, 0.99])
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.98, 0.9552, 1.0048)
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2 or not np.isfinite(sample).all() or np.ptp(sample) < _ROUNDING:
        return None
    spread = float(sample.std(ddof=1))
    return Interval(float(sample.mean()), _t_quantile(len(sample) - 1, confidence) * spread / math.sqrt(len(sample)))


def normal_interval(value: float, error: float) -> Interval:
    """The interval of a value whose standard error is known.

    Args:
        value: in any unit.
        error: its standard error, in the same unit, ≥ 0; for a share `binomial_error`.

    >>> round(normal_interval(1.3, 0.05).high, 3)
    1.398
    """
    return Interval(value, float(special.ndtri((1 + CONFIDENCE) / 2)) * error)


def binomial_error(share: float, examples: int) -> float:
    """The standard error of a share of examples, √(p·(1 − p)/N).

    Args:
        share: p, from 0 to 1.
        examples: N, ≥ 1.

    >>> round(binomial_error(0.01, 10_000), 6)
    0.000995
    """
    return math.sqrt(share * (1 - share) / examples)


def difference_interval(a: Interval, b: Interval) -> Interval:
    """The interval of the difference of two independent estimates, each with its own.

    It adds the squares of what the two reach (Zou & Donner 2008), so it is never narrower than either.

    Args:
        a: the one, in any unit.
        b: the other, in the same unit.

    Returns:
        That of a − b.

    >>> difference_interval(Interval(5, 3), Interval(4, 4))
    Interval(value=1, reach=5.0)
    """
    return Interval(a.value - b.value, math.hypot(a.reach, b.reach))


def corrected_interval(differences: Sequence[float] | NDArray[np.floating], folds: int) -> Interval:
    """The interval of a mean difference over the folds of repeated cross-validation.

    Its variance is that of `variance.over_folds`.

    Args:
        differences: one a fold of each repetition, shape (n,), n ≥ 2.
        folds: of one repetition, ≥ 2.

    >>> found = corrected_interval([0.0, 0.01, 0.02, 0.01, 0.0], 5)
    >>> round(found.low, 4), round(found.high, 4)
    (-0.0076, 0.0236)
    """
    found = over_folds(np.asarray(differences, dtype=np.float64), folds)
    return Interval(found.mean, _t_quantile(len(differences) - 1, CONFIDENCE) * math.sqrt(found.variance))


_SHARES = ("accuracy", "balanced accuracy", "macro F1", "coverage of sets", "coverage of intervals")


class Estimate(NamedTuple):
    """A metric of a model with its interval at `CONFIDENCE`; the ends are NaN where resamples show no spread."""

    name: str
    value: float
    low: float
    high: float

    @property
    def is_share(self) -> bool:
        """Whether it is told in per cent."""
        return self.name in _SHARES

    def told(self, number: float) -> str:
        """Its value, or an end of its interval, in words, without a unit."""
        if self.is_share:
            return f"{100 * number:.2f}"
        return f"{number:.4f}" if self.name in ("NLL", "Brier", "R²") else f"{number:.4g}"


@lru_cache(4096)  # a report of many networks asks for few counts, many times
def accuracy_interval(right: int, examples: int) -> Estimate:
    """Accuracy with Wilson's interval (1927), which stays within 0 and 1 and holds where all are right.

    Args:
        right: how many examples are classified rightly.
        examples: of how many, ≥ 1.

    >>> [round(number, 3) for number in accuracy_interval(115, 115)[1:]]
    [1.0, 0.968, 1.0]
    """
    from statsmodels.stats.proportion import proportion_confint  # a second to import, and few need it

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
        return (
            *_shares(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)),
            *losses[:, rows].mean(axis=1),
        )

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


def prediction_interval(metric: str, labels: NDArray[Any], predictions: NDArray[Any]) -> tuple[float, float] | None:
    """Where a metric of predicted classes may be on other examples, as many as these, at `CONFIDENCE`.

    Wilson's for accuracy; for the others percentiles of the bootstrap over examples. Of classes, the counts of (true,
    predicted) are then multinomial.

    Args:
        metric: `accuracy`, `balanced_accuracy` or `macro_f1` of classes; `rmse`, `mae` or `r2` of numbers.
        labels: true classes or numbers, shape (N,), N ≥ 1.
        predictions: predicted ones, shape (N,).

    Returns:
        Its ends; `None` where resamples show no spread.

    >>> prediction_interval("accuracy", np.array([0, 1, 1]), np.array([0, 1, 1]))[1]
    1.0
    """
    examples = len(labels)
    if metric == "accuracy":
        return accuracy_interval(int((predictions == labels).sum()), examples)[2:]
    if labels.dtype.kind == "f":
        return _ends([one[metric] for one in _resampled(labels, predictions)])
    random = np.random.default_rng(0)
    classes = int(max(labels.max(), predictions.max())) + 1
    cells, counts = np.unique(labels.astype(np.int64) * classes + predictions, return_counts=True)
    true, said = np.divmod(cells, classes)
    place = ("balanced_accuracy", "macro_f1").index(metric)
    drawn = []
    for mine in random.multinomial(examples, counts / examples, RESAMPLES):
        right, truly, named = (
            np.bincount(of, mine * share, classes) for of, share in ((true, true == said), (true, 1), (said, 1))
        )
        drawn.append(_shares(right, truly, named)[place])
    return _ends(drawn)


def _resampled(truth: NDArray[Any], predictions: NDArray[Any]) -> list[dict[str, float]]:
    """The metrics of predicted numbers on resamples of the examples."""
    random, examples = np.random.default_rng(0), len(truth)
    rows = (random.integers(0, examples, examples) for _ in range(RESAMPLES))
    return [number_metrics(truth[mine], predictions[mine]) for mine in rows]


def _ends(drawn: Sequence[float]) -> tuple[float, float] | None:
    """The percentiles that an interval of the bootstrap ends at; `None` where resamples show no spread."""
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return (float(low), float(high)) if low < high else None


def set_intervals(sets: NDArray[np.bool_], labels: NDArray[np.int64]) -> list[Estimate]:
    """How often sets of classes hold the true one, with Wilson's interval, and how many they hold, with Student's.

    Args:
        sets: which classes are in the set of each example, shape (N, C), N ≥ 1.
        labels: true classes, shape (N,).
    """
    held, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1).astype(np.float64)
    size = t_interval(sizes) or Interval(float(sizes.mean()), np.nan)
    return [
        accuracy_interval(int(held.sum()), len(labels))._replace(name="coverage of sets"),
        Estimate("classes in a set", size.value, size.low, size.high),
    ]


def number_intervals(
    truth: NDArray[np.float64], predictions: NDArray[np.floating], reach: float | None = None
) -> list[Estimate]:
    """RMSE, MAE and R² of predicted numbers, with intervals of the bootstrap over examples.

    Args:
        truth: shape (N,), N ≥ 1, in any unit.
        predictions: shape (N,), likewise.
        reach: half the width of prediction intervals, of which coverage (with Wilson's interval) and width follow;
            `None` for none.
    """
    found = []
    drawn = _resampled(truth, predictions)
    for label, (name, value) in zip(("RMSE", "MAE", "R²"), number_metrics(truth, predictions).items(), strict=True):
        low, high = _ends([one[name] for one in drawn]) or (np.nan, np.nan)
        found.append(Estimate(label, value, low, high))
    if reach is not None:
        held = int((np.abs(truth - predictions) <= reach).sum())
        found.append(accuracy_interval(held, len(truth))._replace(name="coverage of intervals"))
        found.append(Estimate("width of intervals", *3 * (2 * reach,)))
    return found


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
    reach = _t_quantile(len(found) - 1, CONFIDENCE) * float(found.std(ddof=1)) * np.sqrt(1 + 1 / len(found))
    return float(found.mean() - reach), float(found.mean() + reach)


def _t_quantile(df: int, confidence: float) -> float:
    """What a two-sided interval takes of Student's t."""
    return float(special.stdtrit(df, (1 + confidence) / 2))


def _shares(right: NDArray[np.number], true: NDArray[np.number], said: NDArray[np.number]) -> tuple[float, float]:
    """Balanced accuracy and macro F1 by how many examples of each class are right, are of it, are said to be of it."""
    occurs, named = true > 0, (true + said) > 0
    return float((right[occurs] / true[occurs]).mean()), float((2 * right[named] / (true + said)[named]).mean())
