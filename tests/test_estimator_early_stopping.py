"""Early stopping of `DropoutMLPClassifier`: what it stops by, what it keeps, which rows it holds out or is given."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from droplab import DropoutMLPClassifier
from droplab.errors import DataError
from droplab.estimator import policy
from droplab.estimator.history import Epoch, HeldOut, History
from droplab.estimator.parameters import ClassifierParameters
from droplab.estimator.validation import hold_out

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(300, 8, n_informative=5, n_classes=3, random_state=0)


def stopping(**given):
    usual = {"hidden_layer_sizes": (12,), "max_iter": 200, "random_state": 0, "precision": "fp64"}
    return DropoutMLPClassifier(**usual | {"early_stopping": True} | given)


def proba(clf):
    return clf.predict_proba(X)


def rows_held_out(seed=0, fraction=0.1):
    """Those that `fit` holds out of `X`."""
    split = check_random_state(seed).randint(2**31 - 1)
    return train_test_split(np.arange(300), test_size=fraction, random_state=split, stratify=y)[1]


def caught(monkeypatch):
    """The rows to train on and those to stop by, as the training is given them."""
    parts = []
    whole = policy.Fit.whole

    def spied(fit, valid, show):
        parts.append((fit._rows, valid))
        return whole(fit, valid, show)

    monkeypatch.setattr(policy.Fit, "whole", spied)
    return parts


# --- what it keeps


def test_what_is_kept_has_the_lowest_log_loss_on_the_rows_held_out():
    clf = stopping(learning_rate_init=0.01, validation_fraction=0.3).fit(X, y)
    held, network = rows_held_out(fraction=0.3), clf.networks_[0]
    best = int(np.argmin(network.validation_losses))
    assert 0 < best < clf.n_iter_ - 1
    assert best != np.argmax(clf.validation_scores_), "else it could as well be the highest accuracy"
    np.testing.assert_allclose(log_loss(y[held], clf.predict_proba(X[held])), network.validation_losses[best])
    assert accuracy_score(y[held], clf.predict(X[held])) == clf.validation_scores_[best], "scores are accuracies"
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert clf.best_loss_ is None


def test_it_stops_when_the_log_loss_has_not_improved_for_n_iter_no_change_epochs():
    clf = stopping(learning_rate_init=0.02, n_iter_no_change=4, tol=1e-3).fit(X, y)
    losses = np.array(clf.networks_[0].validation_losses)
    lowest, waited = np.inf, 0
    for epoch, loss in enumerate(losses):
        waited = 0 if loss <= lowest - 1e-3 else waited + 1
        lowest = min(lowest, loss)
        assert (waited > 4) == (epoch == len(losses) - 1)
    assert len(losses) == clf.n_iter_ < 200


@pytest.mark.parametrize("seed", range(3))
def test_on_uneven_classes_what_is_kept_is_better_than_always_the_commonest(seed):
    data, labels = make_classification(1500, 20, n_informative=10, weights=[0.86], flip_y=0.02, random_state=seed)
    clf = DropoutMLPClassifier(early_stopping=True, random_state=seed).fit(data[:1000], labels[:1000])
    commonest = max(np.mean(labels[1000:] == 0), np.mean(labels[1000:] == 1))
    assert clf.score(data[1000:], labels[1000:]) > commonest + 0.02


@pytest.mark.parametrize("metric", ["loss", "score"])
def test_what_is_kept_is_the_latest_of_the_best(metric):
    """Of a few rows the accuracy has few values, so that many epochs are alike."""
    each = []
    clf = stopping(
        dropout=0.5, stopping_metric=metric, learning_rate_init=0.01, callbacks=[lambda *_: each.append(proba(clf))]
    )
    clf.fit(X, y, X_val=X[:20], y_val=y[:20])
    table = pd.DataFrame(clf.history_)
    values = table.validation_loss if metric == "loss" else -table.validation_score
    best = np.flatnonzero(values == values.min())
    assert (len(best) > 1) == (metric == "score")
    np.testing.assert_array_equal(clf.predict_proba(X), each[best[-1]])
    assert len(values) == clf.n_iter_ < 200, "it stops"


def test_equal_losses_are_ties_too():
    given = ClassifierParameters(early_stopping=True, tol=0)
    history = History()
    for loss in (0.5, 0.4, 0.4, 0.6):
        history.note(Epoch(1.0, HeldOut(0.9, loss), 0.1, 0.0), given)
    assert history.best == 3


def test_a_network_whose_first_epoch_was_the_best_is_told():
    with pytest.warns(UserWarning, match=r"network 0 from the first epoch.*30 rows.*Lower learning_rate_init \(1000\)"):
        clf = stopping(solver="sgd", learning_rate_init=1000, dropout=0).fit(X * 100, y)
    assert np.argmin(clf.networks_[0].validation_losses) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stopping(learning_rate_init=0.02).fit(X, y)


def test_a_warm_start_that_makes_nothing_better_keeps_what_was_there():
    clf = stopping(warm_start=True, learning_rate_init=0.02).fit(X, y)
    before = clf.predict_proba(X)
    with pytest.warns(UserWarning, match="first epoch or before"):
        clf.set_params(learning_rate_init=10.0).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_networks_side_by_side_stop_each_for_itself():
    together = stopping(n_seeds=3, learning_rate_init=0.02).fit(X, y)
    alone = stopping(learning_rate_init=0.02).fit(X, y)
    assert len({network.n_iter for network in together.networks_}) > 1
    np.testing.assert_allclose(together.networks_[0].coefs[0], alone.coefs_[0], atol=1e-9)


# --- the rows it is given


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, sparse.csr_matrix])
def test_rows_that_are_given_are_stopped_by_and_none_held_out(kind, monkeypatch):
    parts, weights = caught(monkeypatch), np.linspace(0.5, 2, 60)
    clf = stopping(max_iter=5).fit(
        kind(X[60:]), y[60:], X_val=kind(X[:60]), y_val=y[:60].tolist(), sample_weight_val=weights
    )
    assert [len(part) for part in parts[0]] == [240, 60]
    found = log_loss(y[:60], proba(clf)[:60], sample_weight=weights)
    assert found == pytest.approx(min(clf.validation_loss_curve_))
    assert clf.networks_[0].validation_losses == clf.validation_loss_curve_
    assert stopping(early_stopping=False, max_iter=2).fit(X, y).validation_loss_curve_ is None


def test_weights_of_classes_count_on_the_rows_given():
    weights = {0: 1.0, 1: 5.0, 2: 0.5}
    clf = stopping(max_iter=3, class_weight=weights).fit(X[60:], y[60:], X_val=X[:60], y_val=y[:60])
    found = log_loss(y[:60], proba(clf)[:60], sample_weight=[weights[label] for label in y[:60]])
    assert found == pytest.approx(min(clf.validation_loss_curve_))


def test_a_pipeline_transforms_the_rows_given():
    with config_context(enable_metadata_routing=True):
        clf = stopping(max_iter=3).set_fit_request(X_val=True, y_val=True)
        pipe = make_pipeline(StandardScaler(), clf, transform_input=["X_val"])
        pipe.fit(X[60:] * 100, y[60:], X_val=X[:60] * 100, y_val=y[:60])
    found = log_loss(y[:60], pipe.predict_proba(X[:60] * 100))
    assert found == pytest.approx(min(pipe[-1].validation_loss_curve_))


@pytest.mark.parametrize(
    ("given", "rows", "told"),
    [
        ({}, {"X_val": X}, "X_val and y_val go together; found no y_val"),
        ({}, {"y_val": y}, "X_val and y_val go together; found no X_val"),
        ({}, {"sample_weight_val": y}, "X_val and y_val go together; found no X_val"),
        ({"early_stopping": False}, {"X_val": X, "y_val": y}, "need early_stopping=True .* found early_stopping=False"),
        (
            {},
            {"X_val": X, "y_val": y + 1},
            r"X_val, y_val .* as those to train on: .*classes \[0, 1, 2\]; found \[3\]",
        ),
        ({}, {"X_val": X[:, :3], "y_val": y}, "X_val, y_val .* 3 features, but DropoutMLPClassifier is expecting 8"),
        ({}, {"X_val": X * np.nan, "y_val": y}, "X_val, y_val .* as those to train on: .* NaN"),
        ({}, {"X_val": X[:9], "y_val": y}, r"X_val, y_val .* as those to train on: .* \[9, 300\]"),
    ],
)
def test_rows_that_cannot_be_stopped_by_are_an_error(given, rows, told):
    clf = stopping(**given)
    with pytest.raises(ValueError, match=told):
        clf.fit(X, y, **rows)
    assert not hasattr(clf, "networks_")


# --- which rows it holds out


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2, 300)], ids=["alike", "weighted"])
def test_rows_are_held_out_in_the_same_share_of_each_class(weights, monkeypatch):
    parts = caught(monkeypatch)
    stopping(max_iter=2).fit(X, y, weights)
    train, valid = parts[0]
    held = rows_held_out()
    np.testing.assert_array_equal(valid.features.table.numpy(), X[held])
    assert len(train) == 270


def test_many_classes_are_held_out_at_random_and_all_of_them_trained_on(monkeypatch):
    """By chance alone 23 classes would have no row to train on."""
    parts, many = caught(monkeypatch), np.arange(300) % 145
    with pytest.warns(UserWarning, match=r"120 of 300 rows are held out, and the rarest class has 2\..*no classes are"):
        stopping(max_iter=1, validation_fraction=0.4).fit(X, many)
    train, valid = parts[0]
    assert (len(train), len(valid)) == (180, 120)
    assert set(train.targets.tolist()) == set(range(145))


@pytest.mark.parametrize(
    "labels", [np.where(np.arange(300) == 7, 9, y), np.arange(300) == 7], ids=["of four", "of two"]
)
def test_a_class_with_one_row_is_trained_on(labels, monkeypatch):
    parts = caught(monkeypatch)
    with pytest.warns(UserWarning, match="the rarest class has 1"):
        stopping(max_iter=1, validation_fraction=0.9).fit(X, labels)
    assert X[7] in parts[0][0].features.table.numpy()
    assert not (parts[0][1].features.table.numpy() == X[7]).all(axis=1).any()


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_classes_that_no_row_is_left_for_are_told():
    with pytest.warns(UserWarning, match="30 classes are left without a row"):
        stopping(max_iter=1).fit(X, np.arange(300))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_several_labels_a_row_need_no_strata(kind):
    data, labels = make_multilabel_classification(150, 8, n_classes=4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = stopping(learning_rate_init=0.01).fit(data, kind(labels))
    assert len(clf.validation_scores_) == clf.n_iter_


def test_rows_without_weight_are_not_stopped_by(monkeypatch):
    parts, weights = caught(monkeypatch), (np.arange(300) < 60).astype(float)
    stopping(max_iter=2).fit(X, y, weights)
    train, valid = parts[0]
    assert (len(train), len(valid)) == (294, 6)
    assert (valid.weights > 0).all()


def test_too_few_rows_with_a_weight_are_an_error():
    with pytest.raises(DataError, match="found 1 and 4"):
        stopping().fit(X, y, (np.arange(300) < 5).astype(float))


def test_what_is_not_finite_on_the_rows_held_out_is_an_error(monkeypatch):
    """It could never be the best, and the last epoch would be taken instead."""
    monkeypatch.setattr(policy, "held_out", lambda *_: [policy.HeldOut(0.9, float("nan"))])
    with pytest.raises(DataError, match="finite; found a loss of nan on the rows held out after epoch 1"):
        stopping().fit(X, y)


def test_the_draw_depends_on_the_seed_alone(monkeypatch):
    parts = caught(monkeypatch)
    many = np.arange(300) % 60
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopping(max_iter=1).fit(X, many)
    rows = parts[0][0]
    with pytest.warns(UserWarning, match="cannot hold out"):
        drawn = [hold_out(rows, np.arange(270) % 60, 0.1, seed)[1].features.table.numpy() for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
