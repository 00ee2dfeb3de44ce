"""What is seen of a training of `DropoutMLPClassifier`, and what ends it: records, callbacks, a limit of time."""

import pickle
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from droplab import DropoutMLPClassifier
from droplab.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:max_iter")

X, y = make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)
HELD = {"X_val": X[:30], "y_val": y[:30]}


def quick(**given):
    return DropoutMLPClassifier(
        **{"hidden_layer_sizes": (8,), "max_iter": 6, "batch_size": 40, "random_state": 0} | given
    )


def third(network, epoch, loss, score):
    """Stops the second network after three epochs."""
    return network == 1 and epoch == 3


# --- records


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_history_has_a_record_for_each_network_and_epoch(early_stopping):
    began = time.perf_counter()
    clf = quick(n_seeds=2, callbacks=[third], early_stopping=early_stopping).fit(X, y)
    table = pd.DataFrame(clf.history_)
    names = ["network", "epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds"]
    assert list(table.columns) == names
    assert list(zip(table.network, table.epoch, strict=True)) == [(0, k + 1) for k in range(6)] + [
        (1, 1),
        (1, 2),
        (1, 3),
    ]
    for number, network in enumerate(clf.networks_):
        mine = table[table.network == number]
        assert mine.loss.tolist() == network.loss_curve
        held = (network.validation_losses, network.validation_scores)
        assert (mine.validation_loss.tolist(), mine.validation_score.tolist()) == held or not early_stopping
    assert table.validation_loss.notna().all() == early_stopping
    assert table.seconds.min() > 0
    assert table[table.network == 0].seconds.sum() < time.perf_counter() - began


def test_records_go_on_in_a_warm_start_and_in_partial_fit():
    clf = quick(warm_start=True, max_iter=2).fit(X, y)
    clf.set_params(early_stopping=True).fit(X, y)
    clf.set_params(early_stopping=False).partial_fit(X, y)
    table = pd.DataFrame(clf.history_)
    assert table.epoch.tolist() == [1, 2, 3, 4, 5]
    assert table.validation_loss.notna().tolist() == [False, False, True, True, False]
    assert table.validation_loss[2:4].tolist() == clf.validation_loss_curve_


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({"learning_rate": "linear", "schedule_final": 0.1}, [0.1 * (1 - 0.9 * (3 * k - 1) / 18) for k in range(1, 7)]),
        ({"warmup_epochs": 2}, [0.05, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ({"solver": "sgd", "learning_rate": "invscaling"}, [0.1 / np.sqrt(120 * k + 1) for k in range(6)]),
        (
            {"solver": "sgd", "learning_rate": "adaptive", "tol": 9.0, "n_iter_no_change": 1, "dropout": 0},
            [0.1, 0.1, 0.1, 0.02, 0.02, 0.004],
        ),
    ],
    ids=["linear", "warmup", "invscaling", "adaptive"],
)
def test_the_history_tells_the_learning_rate_of_each_epochs_last_step(given, rates):
    clf = quick(learning_rate_init=0.1, **given).fit(X, y)
    found = [record["learning_rate"] for record in clf.history_]
    if given.get("learning_rate") == "invscaling":
        rates[0] = 0.1  # of the first epoch, as scikit-learn has it
    np.testing.assert_allclose(found, rates)


# --- callbacks


def test_callbacks_are_told_what_early_stopping_looks_at_and_find_the_estimator_as_it_is():
    said, (X_val, y_val) = [], HELD.values()

    def on_epoch(*each):
        found = log_loss(y_val, clf.predict_proba(X_val)), clf.score(X_val, y_val)
        said.append((*each, *found, clf.coefs_[0], clf.n_iter_))

    clf = quick(callbacks=[on_epoch], early_stopping=True, precision="fp64")
    clf.fit(X, y, **HELD)
    networks, epochs, losses, scores, log_losses, accuracies, weights, counts = zip(*said, strict=True)
    assert set(networks) == {0}
    assert epochs == counts == (1, 2, 3, 4, 5, 6)
    np.testing.assert_allclose(losses, log_losses)
    assert scores == accuracies == tuple(clf.validation_scores_)
    np.testing.assert_array_equal(clf.coefs_[0], weights[np.argmin(losses)])
    assert not np.array_equal(weights[0], weights[1]), "each is a copy"


def test_without_early_stopping_callbacks_are_told_the_training_loss():
    said = []
    clf = quick(callbacks=[lambda *each: said.append(each)], n_seeds=2).fit(X, y)
    assert said == [(r, k + 1, clf.networks_[r].loss_curve[k], None) for k in range(6) for r in range(2)]


def test_a_callback_stops_its_network_alone_and_all_are_called():
    calls = []
    stopped = quick(n_seeds=3, callbacks=(third, lambda *each: calls.append(each))).fit(X, y)
    alike = quick(n_seeds=3).fit(X, y)
    shorter = quick(n_seeds=3, max_iter=3).fit(X, y)
    assert [network.n_iter for network in stopped.networks_] == [6, 3, 6]
    assert len(calls) == 15
    for r, other in enumerate([alike, shorter, alike]):
        np.testing.assert_allclose(stopped.networks_[r].coefs[0], other.networks_[r].coefs[0], atol=1e-6)


def test_callbacks_are_cloned_and_pickled():
    clf = clone(quick(n_seeds=2, callbacks=[third])).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))  # noqa: S301 - its own bytes
    assert again.get_params()["callbacks"] == [third]
    assert again.fit(X, y).networks_[1].n_iter == 3


@pytest.mark.parametrize("is_fitted", [False, True])
def test_what_a_callback_raises_leaves_the_estimator_as_it_was(is_fitted):
    def fails(network, epoch, loss, score):
        if epoch == 2:
            raise RuntimeError("pruned")

    clf = quick(callbacks=[fails])
    if is_fitted:
        clf.set_params(callbacks=()).fit(X, y).set_params(callbacks=[fails])
    before = dict(vars(clf))
    with pytest.raises(RuntimeError, match="pruned"):
        clf.fit(X[:, :4], y)
    assert vars(clf) == before


# --- a limit of time


def test_training_ends_with_the_epoch_in_which_its_time_is_over():
    with pytest.warns(ConvergenceWarning, match=r"time_limit \(0\.25 s\) is passed"):
        clf = quick(n_seeds=2, max_iter=10**6, time_limit=0.25, tol=0, n_iter_no_change=10**6).fit(X, y)
    spent = pd.DataFrame(clf.history_).groupby("network").seconds.sum()
    assert clf.networks_[0].n_iter == clf.networks_[1].n_iter > 1
    last = clf.history_[-1]["seconds"]
    assert (spent > 0.2).all()
    assert (spent - last < 0.25).all()


def test_the_best_weights_are_kept_when_the_time_is_over():
    def slow(network, epoch, loss, score):
        time.sleep(2 if epoch == 4 else 0)

    given = {"early_stopping": True, "learning_rate_init": 0.3, "random_state": 3, "precision": "fp64", "dropout": 0.5}
    clf = quick(time_limit=2, callbacks=[slow], **given)
    with pytest.warns(ConvergenceWarning, match="time_limit"):
        clf.fit(X, y, **HELD)
    losses = clf.validation_loss_curve_
    assert (np.argmin(losses), len(losses)) == (1, 4)
    assert log_loss(y[:30], clf.predict_proba(X[:30])) == pytest.approx(min(losses))


def test_a_training_that_has_ended_by_itself_is_not_late():
    assert quick(time_limit=60, callbacks=[lambda *_: True]).fit(X, y).n_iter_ == 1


@pytest.mark.parametrize(
    "given", [{"time_limit": 0}, {"callbacks": third}, {"callbacks": [3]}, {"stopping_metric": "accuracy"}]
)
def test_what_cannot_be_is_an_error_that_names_it(given):
    with pytest.raises(ConfigError, match=next(iter(given))):
        quick(**given).fit(X, y)


@pytest.mark.parametrize(
    "given", [{"time_limit": 9.0}, {"callbacks": [third]}, {"early_stopping": True, "stopping_metric": "score"}]
)
@pytest.mark.filterwarnings("ignore:L-BFGS")
def test_what_cannot_act_is_told(given):
    with pytest.warns(UserWarning, match=f"{list(given)[-1]} cannot act with solver='lbfgs'"):
        quick(solver="lbfgs", dropout=0, batch_size="auto", **given).fit(X, y)
