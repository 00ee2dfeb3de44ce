"""`DropoutMLPClassifier` beside scikit-learn's `MLPClassifier` on ordinary tables, both with their defaults.

    python -m droplab.bench.tabular

Both stand behind a StandardScaler and are fitted in turns on the same folds of repeated, stratified cross-validation.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from droplab.estimator import DropoutMLPClassifier
from droplab.stats.intervals import corrected_interval

FOLDS = 5


class Table(NamedTuple):
    """A data set: its name, how it is loaded, and how often the cross-validation is repeated."""

    name: str
    load: Callable[[], tuple[NDArray[Any], NDArray[Any]]]
    repeats: int


def _synthetic() -> tuple[NDArray[Any], NDArray[Any]]:
    made = datasets.make_classification(20_000, 40, n_informative=20, n_classes=4, flip_y=0.02, random_state=0)
    return made[0], made[1]


TABLES = (
    Table("iris", lambda: datasets.load_iris(return_X_y=True), 10),
    Table("wine", lambda: datasets.load_wine(return_X_y=True), 10),
    Table("breast cancer", lambda: datasets.load_breast_cancer(return_X_y=True), 10),
    Table("digits", lambda: datasets.load_digits(return_X_y=True), 5),
    Table("synthetic", _synthetic, 1),
)
"""What scikit-learn has, and a large one that it makes: 4 classes, 20 informative of 40 features, 2 % wrong labels."""


def compare(table: Table) -> str:
    """A row of Markdown: accuracy of both in %, the difference with its interval, and the ratio of the times to fit."""
    X, y = table.load()
    scores: dict[str, list[float]] = {"theirs": [], "ours": []}
    seconds = dict.fromkeys(scores, 0.0)
    for number, (train, test) in enumerate(
        RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=table.repeats, random_state=0).split(X, y)
    ):
        models = {
            "theirs": MLPClassifier(random_state=number),
            "ours": DropoutMLPClassifier(random_state=number),
        }
        for name, model in models.items():
            pipeline = make_pipeline(StandardScaler(), model)
            start = time.perf_counter()
            pipeline.fit(X[train], y[train])
            seconds[name] += time.perf_counter() - start
            scores[name].append(float(pipeline.score(X[test], y[test])))
    differences = np.subtract(scores["ours"], scores["theirs"])
    found = corrected_interval(differences, FOLDS)
    cells = (
        table.name,
        f"{len(X):,} × {X.shape[1]}",
        str(len(np.unique(y))),
        f"{table.repeats} × {FOLDS}",
        f"{100 * np.mean(scores['theirs']):.2f}",
        f"{100 * np.mean(scores['ours']):.2f}",
        f"{100 * differences.mean():+.2f}",
        f"{100 * found.low:+.2f} to {100 * found.high:+.2f}",
        f"{seconds['theirs'] / len(differences):.2f}",
        f"{seconds['theirs'] / seconds['ours']:.2f}×",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # both end at max_iter=200 on most of them
    head = (
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
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for table in TABLES:
        print(compare(table), flush=True)


if __name__ == "__main__":
    main()
