"""Comparison of scikit-learn estimators: paired folds and seeds in, a verdict on each pair out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from droplab.errors import ConfigError, DataError, did_you_mean
from droplab.stats.compare import check_levels, p_words, percent
from droplab.stats.family import judge_each

if TYPE_CHECKING:
    import pandas as pd

_VERDICTS = {"helps": "better", "hurts": "worse"}  # what is said of arms, of estimators
_LINE = 80  # characters
_OF_TARGETS = {  # metrics in the unit of the targets, and the power of that
    "root_mean_squared_error": 1,
    "mean_absolute_error": 1,
    "median_absolute_error": 1,
    "max_error": 1,
    "mean_squared_error": 2,
}
_MARGIN, _TARGETS_MARGIN = 0.005, 0.01  # those of studies


@dataclass(frozen=True, eq=False)
class EstimatorComparison:
    """Estimators, and what was found of each pair.

    Attributes:
        caption: what was compared, in words.
        confidence: of all verdicts together.
        margin: the largest gain that does not matter, in the metric's unit.
        scores: tidy, a row a value: `estimator`, `seed`, `fold`, `score`, `fit_seconds`.
        ranking: a row an estimator, the best first: mean `score`, its standard deviation `sd` over folds and seeds,
            mean `rank` in a fold (1 is best), mean `fit_seconds`.
        table: a row a pair: `a`, `b`; whether a is `better`, `worse`, `equivalent`, or the pair `undecided`; the `gain`
            of a over b, positive where a is better, whatever the metric's direction; `low` and `high`, the interval
            that the verdict is read from, NaN without spread; `p_value` of this pair, `p_adjusted` as one of all;
            `wins`, the share of folds in which a is better, ties counted half.
    """

    caption: str
    confidence: float
    margin: float
    scores: pd.DataFrame
    ranking: pd.DataFrame
    table: pd.DataFrame

    def __str__(self) -> str:
        lines = [f"{self.caption}", "", f"{'':{_LINE - 40}}{'mean':>10}{'sd':>10}{'rank':>8}{'fit (s)':>12}"]
        for one in self.ranking.to_dict("records"):
            name, score, spread = _cut(one["estimator"], _LINE - 40), one["score"], one["sd"]
            lines.append(
                f"{name:{_LINE - 40}}{score:#10.4g}{spread:#10.3g}{one['rank']:8.2f}{one['fit_seconds']:12.3g}"
            )
        lines += ["", f"{percent(self.confidence)} intervals for all pairs at once; margin {self.margin:.3g}:"]
        for one in self.table.to_dict("records"):
            lines.append(" against ".join(_cut(one[side], _LINE // 2 - 6) for side in "ab"))
            gain, low, high = (_signed(one[name]) for name in ("gain", "low", "high"))
            ends = "without spread" if np.isnan(one["low"]) else f"{low} to {high}"
            lines.append(f"    {one['verdict']}: {gain} ({ends}), p {p_words(one['p_adjusted'])}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown = (frame.to_html(index=False, float_format="{:.4g}".format) for frame in (self.ranking, self.table))
        return f'<div class="droplab"><p>{self.caption}</p>{"".join(shown)}</div>'


def compare_estimators(
    estimators: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    metric: str | None = None,
    folds: int = 5,
    seeds: int | Sequence[int] = 3,
    groups: Any = None,
    margin: float | None = None,
    confidence: float = 0.95,
    notify: Callable[[str], None] = lambda _: None,
) -> EstimatorComparison:
    """Compare scikit-learn estimators or pipelines on one data set by repeated cross-validation.

    A seed divides the rows into folds, of each class alike, and is the `random_state` of every part that has one; all
    estimators get the same. The interval of a pair's gain is that of Nadeau & Bengio (2003), whose training sets
    overlap; any `better` or `worse` among all pairs is wrong with 1 − confidence at most (Holm 1979). `equivalent` is
    not corrected. The verdicts speak of training sets of this size from where these data came from.

    Args:
        estimators: two or more, by name; they are cloned, and never fitted themselves.
        X: rows as the estimators take them, array or DataFrame.
        y: targets, shape (rows,).
        metric: a scorer of scikit-learn, with or without `neg_`, as `log_loss`; `None` for accuracy of classifiers and
            `root_mean_squared_error` of regressors.
        folds: of each repetition, ≥ 2.
        seeds: how many repetitions, or their seeds.
        groups: of each row, shape (rows,); no fold parts one.
        margin: the largest gain that does not matter, in the metric's unit; `None` for 0.005, and of errors in the
            unit of `y` for 0.01 of its standard deviation, as in studies.
        confidence: of all verdicts together, between 0 and 1.
        notify: told when an estimator is through with a seed.

    Raises:
        ConfigError: if there are too few estimators or folds, no such metric, or a number is out of range.
        DataError: if a score is not finite, or the rows cannot be divided so.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.dummy import DummyClassifier
        >>> from sklearn.tree import DecisionTreeClassifier
        >>> both = {"tree": DecisionTreeClassifier(), "none": DummyClassifier()}
        >>> found = compare_estimators(both, *load_iris(return_X_y=True))
        >>> found.table[["a", "b", "verdict"]].values.tolist()
        [['tree', 'none', 'better']]
    """
    import pandas as pd
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import cross_validate

    if not isinstance(estimators, Mapping) or len(estimators) < 2:
        raise ConfigError("estimators must be a mapping of names and estimators, with two or more; found fewer.")
    each = tuple(range(seeds)) if isinstance(seeds, int | np.integer) else tuple(seeds)
    if folds < 2 or not each or len(set(each)) < len(each):
        raise ConfigError(f"there must be 2 folds or more, and seeds, each once; found {folds=}, {seeds=}.")
    if made := [name for name, one in estimators.items() if isinstance(one, type) or not hasattr(one, "get_params")]:
        raise ConfigError(f"estimators must be objects of scikit-learn's kind, as Ridge(); found none for {made[0]!r}.")
    kinds = {is_classifier(one) for one in estimators.values()}
    if len(kinds) > 1:
        raise ConfigError("estimators must all be classifiers, or none of them; found both. Compare one kind.")
    classify = kinds.pop()
    scorer, sign, told = _scorer(metric or ("accuracy" if classify else "root_mean_squared_error"))
    margin = _margin(told, y) if margin is None else margin
    check_levels(margin, confidence)
    rows = []
    for seed in each:
        parts = list(_folds(X, y, groups, classify, folds, seed))
        for name, estimator in estimators.items():
            parameters = estimator.get_params()
            states = {one: seed for one in parameters if one.split("__")[-1] == "random_state"}
            seeded = clone(estimator).set_params(**states)
            try:
                done = cross_validate(seeded, X, y, cv=parts, scoring=scorer, error_score="raise")
            except ValueError as error:
                raise DataError(f"{name!r} must be fit for the rows and for {told}; it says: {error}") from error
            if not np.isfinite(done["test_score"]).all():
                raise DataError(f"scores must be finite; found {done['test_score'].tolist()} of {name!r} by {told}.")
            values = zip(done["test_score"], done["fit_time"], strict=True)
            rows += [(name, seed, fold, sign * score, seconds) for fold, (score, seconds) in enumerate(values)]
            notify(f"{name}: seed {seed}, {sum(done['fit_time']):.3g} s of fitting")
    scores = pd.DataFrame(rows, columns=["estimator", "seed", "fold", "score", "fit_seconds"])
    wide = sign * scores.pivot(index=["seed", "fold"], columns="estimator", values="score")[list(estimators)]
    repeats = f"{folds} folds × {len(each)} {'seed' if len(each) == 1 else 'seeds'}"
    caption = f"{told} over {repeats}; {'more' if sign > 0 else 'less'} is better"
    table = _judged(wide, margin, 1 - confidence, folds)
    return EstimatorComparison(caption, confidence, margin, scores, _ranking(scores, wide), table)


def _margin(metric: str, y: Any) -> float:
    """The largest gain that does not matter where none is given; 1 stands for the deviation of targets without one."""
    if metric not in _OF_TARGETS:
        return _MARGIN
    deviation = float(np.asarray(y, dtype=np.float64).std(axis=0).mean())
    return _TARGETS_MARGIN * (deviation or 1.0) ** _OF_TARGETS[metric]


def _signed(value: float) -> str:
    return f"{value:+#.3g}".replace("-", "−")


def _cut(name: str, most: int) -> str:
    return name if len(name) < most else f"{name[: most - 2]}…"


def _scorer(metric: str) -> tuple[Any, int, str]:
    """A scorer of scikit-learn, of which more is better; the sign that makes it the metric, and the metric's name."""
    from sklearn.metrics import get_scorer, get_scorer_names

    names, plain = get_scorer_names(), str(metric).removeprefix("neg_")
    for name, sign in ((plain, 1), (f"neg_{plain}", -1)):
        if name in names:
            return get_scorer(name), sign, plain
    raise ConfigError(f"metric must be a scorer of scikit-learn; found {metric!r}.{did_you_mean(plain, names)}")


def _folds(X: Any, y: Any, groups: Any, classify: bool, folds: int, seed: int) -> Iterator[Any]:
    """The rows trained on and judged on, fold by fold."""
    from sklearn import model_selection

    kind = ("Stratified" if classify else "") + ("KFold" if groups is None else "GroupKFold")
    try:
        yield from getattr(model_selection, kind)(folds, shuffle=True, random_state=seed).split(X, y, groups)
    except ValueError as error:
        raise DataError(f"the rows must be divisible into {folds} folds; scikit-learn says: {error}") from None


def _judged(wide: pd.DataFrame, margin: float, level: float, folds: int) -> pd.DataFrame:
    """A row a pair of columns, whose rows are the folds of every seed; more is better."""
    import pandas as pd

    pairs = list(combinations(wide.columns, 2))
    found = judge_each([(wide[a] - wide[b]).to_numpy() for a, b in pairs], margin, level, folds)
    rows = [
        {
            "a": a,
            "b": b,
            "verdict": _VERDICTS.get(one.verdict, one.verdict),
            "gain": one.difference,
            "low": one.low,
            "high": one.high,
            "p_value": one.p_value,
            "p_adjusted": one.p_value if one.p_adjusted is None else one.p_adjusted,
            "wins": one.probability_of_improvement,
        }
        for (a, b), one in zip(pairs, found, strict=True)
    ]
    return pd.DataFrame(rows).astype({name: float for name in rows[0] if name not in ("a", "b", "verdict")})


def _ranking(scores: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    by = scores.groupby("estimator", sort=False)
    found = by.agg(score=("score", "mean"), sd=("score", "std"), fit_seconds=("fit_seconds", "mean"))
    found.insert(2, "rank", wide.rank(axis=1, ascending=False).mean())
    return found.sort_values("rank", kind="stable").reset_index()
