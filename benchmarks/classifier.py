"""`DropoutMLPClassifier` beside scikit-learn's `MLPClassifier`: time to fit and to predict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.turns import Contest, Sample, timed
from droplab.estimator import DropoutMLPClassifier

Rows = tuple[NDArray[Any], NDArray[Any]]

CALLS = 200
"""Predictions of a row that are timed together."""


def synthetic() -> Rows:
    """20,000 rows of 50 features, of which 20 tell something, and 4 classes; 2 % of the labels are wrong."""
    made: Rows = datasets.make_classification(20_000, 50, n_informative=20, n_classes=4, flip_y=0.02, random_state=0)
    return made


def classifier() -> Iterator[Contest]:
    """Fits with the defaults of both, on one thread: a large table for 10 epochs, small ones as long as they take."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are meant
    X, y = synthetic()
    ours, five = (DropoutMLPClassifier(max_iter=10, n_seeds=n, random_state=0) for n in (1, 5))
    theirs = MLPClassifier(max_iter=10, random_state=0)
    for model in (ours, theirs):
        model.fit(X[:200], y[:200])  # what costs more the first time
    yield _fits("20,000 × 50, one network, 10 epochs", X, y, ours, theirs)
    yield _fits("20,000 × 50, five networks, 10 epochs", X, y, five, theirs, 5)
    first, second = (partial(_predict, model.fit(X, y), X[:1]) for model in (ours, theirs))
    yield _contest("predicting one row of 20,000 × 50", "a prediction", first, second)
    for name in ("digits", "breast_cancer", "iris"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        ours, theirs = (kind(random_state=0) for kind in (DropoutMLPClassifier, MLPClassifier))
        yield _fits(f"{name}, until it stops", StandardScaler().fit_transform(X), y, ours, theirs)


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
