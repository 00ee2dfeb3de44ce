"""The estimators in the place of scikit-learn's own: its tests of these, run on ours without dropout."""

import importlib.util
import inspect
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_iris

import droplab
from droplab.errors import ConfigError, DataError

OURS = {
    "MLPClassifier": partial(droplab.DropoutMLPClassifier, dropout=0),
    "MLPRegressor": partial(droplab.DropoutMLPRegressor, dropout=0),
}
LEFT_OUT = {
    "test_fit": "sets _coef_grads and more before there are networks",
    "test_gradient": "calls _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads _optimizer",
    "test_adaptive_learning_rate": "reads _optimizer",
    "test_n_iter_no_change": "reads _no_improvement_count",
    "test_n_iter_no_change_inf": "reads _no_improvement_count",
    "test_mlp_diverging_loss": "goes on with a loss that is not finite, which ours refuse",
}
X, y = load_iris(return_X_y=True)


@pytest.fixture
def global_random_seed():
    return 0


@pytest.fixture(autouse=True)
def _the_same_each_time():
    """Estimators without a random state take NumPy's, by which a few examples sometimes stop in the first epoch."""
    np.random.seed(0)


_spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
theirs = importlib.util.module_from_spec(_spec)
with patch.multiple(sklearn.neural_network, **OURS):
    _spec.loader.exec_module(theirs)
for _name, _test in inspect.getmembers(theirs, inspect.isfunction):
    if _name.startswith("test_") and _name not in LEFT_OUT and any(name in inspect.getsource(_test) for name in OURS):
        globals()[_name] = pytest.mark.filterwarnings("default")(_test)  # theirs are not written for warnings as errors


def test_dropout_is_0_where_it_cannot_act():
    for given, expected in (({"solver": "lbfgs"}, 0), ({"hidden_layer_sizes": ()}, 0), ({}, 0.125)):
        clf = droplab.DropoutMLPClassifier(max_iter=1000, tol=0.01, **given).fit(X, y)  # and no warning
        assert clf.dropout_ == expected


def test_one_class_alone_is_always_predicted():
    for clf in (droplab.DropoutMLPClassifier(), droplab.DropoutMLPClassifier(solver="lbfgs")):
        clf.fit(X, np.full(150, "yes"))
        assert set(clf.predict(X)) == {"yes"}
        np.testing.assert_array_equal(clf.predict_proba(X), np.ones((150, 1)))


def test_weights_that_are_set_are_those_of_the_engine():
    """The forward pass by hand, with weights of a network trained elsewhere; the second network keeps its own."""
    theirs = sklearn.neural_network.MLPClassifier(solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
    clf = droplab.DropoutMLPClassifier(dropout=0, tol=9, n_seeds=2).fit(X, y)
    other = clf.networks_[1]
    clf.coefs_, clf.intercepts_ = theirs.coefs_, theirs.intercepts_
    np.testing.assert_array_equal(clf.networks_[1].coefs[0], other.coefs[0])
    first = 2 * clf.predict_proba(X) - _alone(other)
    np.testing.assert_allclose(first, theirs.predict_proba(X), atol=1e-5)
    clf.partial_fit(X, y)  # training goes on from there
    np.testing.assert_allclose(clf.coefs_[0], theirs.coefs_[0], atol=0.01)
    with pytest.raises(DataError, match=r"coefs_ must be.*\(4, 100\).*found.*\(100, 4\)"):
        clf.coefs_ = [each.T for each in theirs.coefs_]
    with pytest.raises(DataError, match="finite"):
        clf.intercepts_ = [each * np.nan for each in theirs.intercepts_]
    with pytest.raises(AttributeError, match="Call fit"):
        droplab.DropoutMLPClassifier().coefs_ = theirs.coefs_
    normalized = droplab.DropoutMLPClassifier(regularizers={"batch_norm": 1}, tol=9).fit(X, y)
    with pytest.raises(ConfigError, match="batch_norm"):
        normalized.coefs_ = theirs.coefs_


def _alone(network):
    hidden = np.maximum(X @ network.coefs[0] + network.intercepts[0], 0)
    exp = np.exp(hidden @ network.coefs[1] + network.intercepts[1])
    return exp / exp.sum(axis=1, keepdims=True)
