"""`DropoutMLPClassifier` beside scikit-learn's `MLPClassifier`: time to fit and to predict, and accuracy on tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.turns import Contest, Sample, markdown_head, markdown_row, timed
from droplab.estimator import DropoutMLPClassifier
from droplab.stats.intervals import corrected_interval

Rows = tuple[NDArray[Any], NDArray[Any]]

TABLES: dict[str, tuple[Callable[[], Rows], int]] = {
    "iris": (partial(datasets.load_iris, return_X_y=True), 10),
    "wine": (partial(datasets.load_wine, return_X_y=True), 10),
    "breast cancer": (partial(datasets.load_breast_cancer, return_X_y=True), 10),
    "digits": (partial(datasets.load_digits, return_X_y=True), 5),
    "synthetic": (lambda: synthetic(40), 1),
}
"""What scikit-learn has and a large one that it makes, each with how often its cross-validation is repeated."""

FOLDS = 5
CALLS = 200
"""Predictions of a row that are timed together."""


def synthetic(features: int) -> Rows:
    """20,000 rows of 4 classes: 20 features tell something, and 2 % of the labels are wrong."""
    made: Rows = datasets.make_classification(
        20_000, features, n_informative=20, n_classes=4, flip_y=0.02, random_state=0
    )
    return made


def classifier() -> Iterator[Contest]:
    """Fits with the defaults of both, on one thread: a large table for 10 epochs, small ones as long as they take."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are meant
    X, y = synthetic(50)
    ours, five = (DropoutMLPClassifier(max_iter=10, n_seeds=n, random_state=0) for n in (1, 5))
    theirs = MLPClassifier(max_iter=10, random_state=0)
    for model in (ours, theirs):
        model.fit(X[:200], y[:200])  # what costs more the first time
    yield _fits("20,000 × 50, one network, 10 epochs", X, y, ours, theirs)
    yield _fits("20,000 × 50, five networks, 10 epochs", X, y, five, theirs, 5)
    first, second = (partial(_predict, model.fit(X, y), X[:1]) for model in (ours, theirs))
    yield _contest("predicting one row of 20,000 × 50", "a prediction", first, second)
    for name in ("digits", "breast cancer", "iris"):
        X, y = TABLES[name][0]()
        X = StandardScaler().fit_transform(X)
        yield _fits(
            f"{name}, until it stops", X, y, DropoutMLPClassifier(random_state=0), MLPClassifier(random_state=0)
        )


def _fits(title: str, X: NDArray[Any], y: NDArray[Any], ours: Any, theirs: Any, networks: int = 1) -> Contest:
    """Both fitted; scikit-learn's as often as ours trains networks."""
    return _contest(
        f"fit, {title}",
        "a fit",
        partial(ours.fit, X, y),
        lambda: [theirs.fit(X, y) for _ in range(networks)],
        networks=networks,
    )


def _predict(model: Any, row: NDArray[Any]) -> None:
    for _ in range(CALLS):
        model.predict(row)


def _contest(
    title: str, unit: str, ours: Callable[[], object], theirs: Callable[[], object], networks: int = 1
) -> Contest:
    times = 1 / CALLS if unit == "a prediction" else 1

    def on_one_thread(work: Callable[[], object]) -> Sample:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(1):
                return timed(work).times(times)
        finally:
            torch.set_num_threads(threads)

    programs = {"DropoutMLPClassifier": partial(on_one_thread, ours), "MLPClassifier": partial(on_one_thread, theirs)}
    return Contest(title, unit, programs, networks)


def tabular() -> Iterator[str]:
    """A table in Markdown: accuracy of both in %, the difference with its interval, and the ratio of the times to fit.

    Both stand behind a StandardScaler and are fitted in turns on the same folds of repeated, stratified
    cross-validation; a row comes as soon as it is measured.
    """
    warnings.simplefilter("ignore", ConvergenceWarning)  # both end at max_iter=200 on most of them
    yield from markdown_head(
        (
            "table",
            "rows × features",
            "classes",
            "repeats × folds",
            "MLPClassifier (%)",
            "DropoutMLPClassifier (%)",
            "ours − theirs (points)",
            "95 % interval",
            "a fit of theirs (s)",
            "times as fast",
        )
    )
    for name, (load, repeats) in TABLES.items():
        yield _compared(name, *load(), repeats)


def _compared(name: str, X: NDArray[Any], y: NDArray[Any], repeats: int) -> str:
    scores: dict[Any, list[float]] = {MLPClassifier: [], DropoutMLPClassifier: []}
    seconds = dict.fromkeys(scores, 0.0)
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=0)
    for number, (train, test) in enumerate(folds.split(X, y)):
        for kind, found in scores.items():
            pipeline = make_pipeline(StandardScaler(), kind(random_state=number))
            seconds[kind] += timed(partial(pipeline.fit, X[train], y[train])).seconds
            found.append(100 * float(pipeline.score(X[test], y[test])))
    theirs, ours = scores.values()
    differences = np.subtract(ours, theirs)
    interval = corrected_interval(differences, FOLDS)
    their_seconds, our_seconds = seconds.values()
    return markdown_row(
        (
            name,
            f"{len(X):,} × {X.shape[1]}",
            len(np.unique(y)),
            f"{repeats} × {FOLDS}",
            f"{np.mean(theirs):.2f}",
            f"{np.mean(ours):.2f}",
            f"{differences.mean():+.2f}",
            f"{interval.low:+.2f} to {interval.high:+.2f}",
            f"{their_seconds / len(differences):.2f}",
            f"{their_seconds / our_seconds:.2f}×",
        )
    )
