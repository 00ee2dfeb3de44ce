"""Estimators compared: scores by plain loops, intervals by the formula, and verdicts that chance seldom makes."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from droplab import compare_estimators
from droplab.errors import ConfigError, DataError
from droplab.stats.family import judge_each


class OneColumn(ClassifierMixin, BaseEstimator):
    """Says class 1 where a column is above its mean; of columns that tell as much, none is the better."""

    def __init__(self, column=0, random_state=None):
        self.column, self.random_state = column, random_state

    def fit(self, X, y):
        self.classes_, self.mean_ = np.unique(y), np.asarray(X)[:, self.column].mean()
        return self

    def predict(self, X):
        return (np.asarray(X)[:, self.column] > self.mean_).astype(int)


def rows(seed, columns=3, signal=0.8, examples=60):
    random = np.random.default_rng(seed)
    y = np.arange(examples) % 2
    return random.normal(size=(examples, columns)) + signal * y[:, None], y


def test_scores_are_those_of_plain_loops_and_every_part_gets_the_seed():
    X, y = rows(0)
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    found = compare_estimators(
        {"bayes": GaussianNB(), "forest": forest}, X, y, metric="log_loss", folds=3, seeds=(4, 7)
    )
    expected = []
    for seed in (4, 7):
        for train, held in StratifiedKFold(3, shuffle=True, random_state=seed).split(X, y):
            for one in (GaussianNB(), make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=seed))):
                expected.append(log_loss(y[held], one.fit(X[train], y[train]).predict_proba(X[held])))
    ordered = found.scores.sort_values(["seed", "fold", "estimator"])["score"]
    np.testing.assert_allclose(ordered, expected)
    gains = np.reshape(expected, (6, 2)) @ [-1, 1]  # of bayes: its log-loss is lower
    (pair,) = found.table.itertuples()
    reach = stats.t.ppf(0.975, 5) * math.sqrt((1 / 6 + 1 / 2) * gains.var(ddof=1))
    assert (pair.gain, pair.low, pair.high) == pytest.approx([gains.mean(), gains.mean() - reach, gains.mean() + reach])
    assert found.ranking.estimator.tolist() == (["bayes", "forest"] if gains.mean() > 0 else ["forest", "bayes"])
    assert forest[-1].random_state is None


def test_chance_seldom_makes_an_estimator_better_and_without_the_correction_often():
    told = {5: 0, 0: 0}  # by folds; 0 takes them for independent
    for seed in range(600):
        X, y = rows(seed)
        scores = []
        for repeat in range(2):
            order = np.random.default_rng([seed, repeat]).permutation(30)
            for fold in range(5):
                held = np.zeros(60, bool)
                held[np.concatenate([2 * order[fold::5], 2 * order[fold::5] + 1])] = True
                scores.append(((X[held] > X[~held].mean(axis=0)) == y[held, None]).mean(axis=0))
        a, b, c = np.transpose(scores)
        for folds in told:
            judged = judge_each([a - b, a - c, b - c], 1e-9, 0.05, folds)
            told[folds] += any(one.verdict in ("helps", "hurts") for one in judged)
    assert told[5] / 600 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    assert told[0] / 600 > 0.12


def test_what_differs_is_found_and_told_in_80_columns():
    X, y = rows(1, signal=1.0, examples=400)
    X[:, 2] = 0.5 * X[:, 2] + X[:, :2].sum(axis=1)
    long = "a name that is far too long for a table of eighty columns, and goes on"
    three = {long: OneColumn(0), "<b>": OneColumn(1), "sum": OneColumn(2)}
    found = compare_estimators(three, pd.DataFrame(X), y, seeds=2)
    by = found.table.set_index(["a", "b"]).verdict
    assert (by["<b>", "sum"], by[long, "<b>"]) == ("worse", "undecided")
    assert found.ranking.estimator[0] == "sum"
    assert (found.table.p_adjusted >= found.table.p_value).all()
    assert max(map(len, str(found).splitlines())) <= 80
    assert "worse: −" in str(found)
    assert "&lt;b&gt;" in found._repr_html_()
    same = compare_estimators({"a": OneColumn(0), "b": OneColumn(0)}, X, y)
    assert (same.table.verdict[0], "without spread" in str(same)) == ("undecided", True)
    near = compare_estimators({"a": OneColumn(0), "b": OneColumn(1)}, X, y, margin=0.5)
    assert near.table.verdict[0] == "equivalent"


def test_regressors_are_compared_by_root_mean_squared_error_and_groups_are_not_parted():
    X, _ = rows(2, examples=90)
    groups, seen = np.repeat(np.arange(30), 3), []

    class Watching(LinearRegression):
        def fit(self, X, y):
            seen.append({tuple(row) for row in X})
            return super().fit(X, y)

    both = {"line": Watching(), "mean": DummyRegressor()}
    found = compare_estimators(both, X, X @ [1.0, 2, 3], groups=groups)
    assert found.table.verdict.tolist() == ["better"]
    assert found.caption == "root_mean_squared_error over 5 folds × 3 seeds; less is better"
    of_groups = [{tuple(row) for row in X[groups == one]} for one in range(30)]
    assert all(len(group & train) in (0, 3) for group in of_groups for train in seen)


@pytest.mark.parametrize("metric", [None, "mean_absolute_error", "mean_squared_error", "r2"])
def test_verdicts_on_numbers_are_the_same_whatever_their_unit(metric):
    X, _ = rows(4, examples=90)
    both = {"line": LinearRegression(), "mean": DummyRegressor()}
    found = [compare_estimators(both, X, unit * (X @ [1.0, 2, 3]), metric=metric) for unit in (1e-4, 1.0, 1e9)]
    assert [one.table.verdict[0] for one in found] == ["better"] * 3
    assert all("0.000 " not in str(one) for one in found)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("found 'acuracy'. Did you mean 'accuracy'", {"metric": "acuracy"}),
        ("2 folds or more", {"folds": 1}),
        ("seeds, each once", {"seeds": (1, 1)}),
        ("two or more", {"estimators": {"a": GaussianNB()}}),
        ("divisible into 70 folds", {"folds": 70}),
        ("margin must be a positive number", {"margin": 0}),
        ("found none for 'b'", {"estimators": {"a": GaussianNB(), "b": GaussianNB}}),
        ("'a' must be fit for the rows and for roc_auc", {"y": np.arange(60) % 3, "metric": "roc_auc"}),
        ("found both", {"estimators": {"a": GaussianNB(), "b": LinearRegression()}}),
    ],
)
def test_what_cannot_be_compared_is_said(words, changes):
    X, y = rows(3)
    both = {"estimators": {"a": GaussianNB(), "b": LogisticRegression()}, "X": X, "y": y}
    with pytest.raises((ConfigError, DataError), match=words):
        compare_estimators(**both | changes)
