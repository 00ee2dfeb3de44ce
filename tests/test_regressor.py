"""`DropoutMLPRegressor`: scikit-learn's numbers without dropout, the unit of targets, quantiles, sets and intervals."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.neural_network import MLPRegressor

from droplab import DropoutMLPClassifier, DropoutMLPRegressor
from droplab.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, BOTH = make_regression(130, 6, n_targets=2, noise=5, random_state=0)
Y = BOTH[:, 0]
LEVELS = [0.1, 0.5, 0.9]


def quick(*loss, **given):
    usual = {"hidden_layer_sizes": (12,), "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0, "dropout": 0}
    return DropoutMLPRegressor(*loss, **usual | given)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(
    ("loss", "y"), [("squared_error", Y / 50), ("squared_error", BOTH / 50), ("poisson", np.abs(Y) // 20)]
)
def test_without_dropout_the_weights_are_scikit_learns(loss, y, solver):
    if solver == "lbfgs" and y.ndim == 2:
        pytest.skip("scikit-learn gives L-BFGS the mean over targets and the gradient of their sum")
    settings = {"loss": loss, "hidden_layer_sizes": (9, 7), "shuffle": False, "warm_start": True, "max_iter": 1}
    settings |= {"solver": solver, "random_state": 0, "tol": 1e-9, "activation": "tanh", "learning_rate_init": 0.005}
    settings |= {"alpha": 0, "n_iter_no_change": 20}
    weight = np.random.default_rng(0).uniform(0, 3, len(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = DropoutMLPRegressor(dropout=0, precision="fp64", scale_targets=False, **settings).fit(X, y)
        theirs = MLPRegressor(**settings).fit(X, y)
        theirs.coefs_ = [weights.copy() for weights in ours.coefs_]
        theirs.intercepts_ = [biases.copy() for biases in ours.intercepts_]
        for model in (ours, theirs):
            model.set_params(max_iter=4 if solver == "lbfgs" else 12).fit(X, y, sample_weight=weight)
    for mine, its in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-8)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7)
    assert ours.loss_ / y[:1].size == pytest.approx(theirs.loss_, rel=1e-6)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-6)
    assert (ours.n_outputs_, ours.out_activation_) == (theirs.n_outputs_, theirs.out_activation_)


def test_parameters_and_defaults_are_those_of_mlp_regressor():
    ours, theirs = DropoutMLPRegressor().get_params(), MLPRegressor().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert set(DropoutMLPClassifier().get_params()) - set(ours) == {"class_weight"}


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile", "poisson"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_unit_of_the_target_changes_nothing_but_the_unit(loss, early_stopping):
    y = np.abs(Y)
    moved = 0 if loss == "poisson" else 10_000
    ours, other = (quick(loss, early_stopping=early_stopping).fit(X, each) for each in (y, 1e4 * y + moved))
    assert ours.score(X, y) > 0.25
    np.testing.assert_allclose(1e4 * ours.predict(X) + moved, other.predict(X), rtol=1e-2)
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=1e-3)


def test_quantiles_hold_their_share_of_rows_and_never_cross():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3000, 1))
    y = x[:, 0] + (0.2 + np.abs(x[:, 0])) * rng.normal(size=3000)
    model = quick("quantile", quantiles=LEVELS, batch_size=100, max_iter=15, n_seeds=2, dropout=0.1).fit(
        x[:2000], y[:2000]
    )
    said = model.predict(x[2000:])
    assert said.shape == (1000, 3)
    assert (np.diff(said) >= 0).all()
    assert (y[2000:, None] <= said).mean(axis=0) == pytest.approx(LEVELS, abs=0.05)
    width = said[:, 2] - said[:, 0]
    assert width[np.abs(x[2000:, 0]) > 0.7].mean() > 2 * width[np.abs(x[2000:, 0]) < 0.2].mean()
    assert model.score(x, y) == pytest.approx(quick("quantile").fit(x, y).score(x, y), abs=0.1)


@pytest.mark.parametrize(("y", "shape"), [(Y, (7,)), (BOTH, (7, 2))])
def test_shapes_of_what_it_says(y, shape):
    model = quick("quantile", quantiles=LEVELS, dropout=0.2, max_iter=2).fit(X[:-7], y[:-7])
    said, deviation = model.predict(X[-7:], return_std=True)
    assert said.shape == deviation.shape == (*shape, 3)
    assert (deviation > 0).all()
    spread = model.predict_uncertainty(X[-7:])
    np.testing.assert_array_equal(spread.std, deviation)
    assert model.calibrate(X, y).predict_interval(X[-7:]).shape == (*shape, 2)


@pytest.mark.parametrize("loss", [{}, {"loss": "quantile", "quantiles": [0.05, 0.95]}], ids=["distance", "quantiles"])
def test_intervals_hold_as_many_further_rows_as_they_say(loss):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3))
    truth = lambda rows: rows[:, 0] + rng.gumbel(size=len(rows))  # noqa: E731
    model = quick(max_iter=10, **loss).fit(x, truth(x))
    held = []
    for _ in range(60):
        calibration, rows = rng.normal(size=(99, 3)), rng.normal(size=(300, 3))
        low, high = model.calibrate(calibration, truth(calibration)).predict_interval(rows, confidence=0.8).T
        y = truth(rows)
        held.append(np.mean((low <= y) & (y <= high)))
    assert np.mean(held) == pytest.approx(0.8, abs=3 * 0.04 / 60**0.5)  # of 99 rows: sd 0.04


def test_sets_hold_as_many_true_classes_as_they_say_and_those_of_each_class_on_request():
    x, y = make_classification(20_000, 6, n_informative=4, n_classes=3, weights=[0.8, 0.15, 0.05], random_state=0)
    names = np.array(["a", "b", "c"])[y]
    model = DropoutMLPClassifier((20,), max_iter=30, dropout=0.1, random_state=0).fit(x[:500], names[:500])
    model.calibrate(x[500:8000], names[500:8000])
    for by_class, off in ((False, 0.1), (True, 0.06)):
        sets = model.predict_set(x[8000:], confidence=0.85, by_class=by_class)
        hit = sets[np.arange(len(sets)), y[8000:]]
        assert hit.mean() == pytest.approx(0.85, abs=0.02)
        worst = max(abs(hit[y[8000:] == k].mean() - 0.85) for k in range(3))
        assert (worst > off) != by_class


def test_mapie_says_the_same_sets_and_intervals():
    from mapie.classification import SplitConformalClassifier
    from mapie.regression import SplitConformalRegressor

    model = quick().fit(X[:80], Y[:80])
    theirs = SplitConformalRegressor(model, confidence_level=0.8, prefit=True).conformalize(X[80:120], Y[80:120])
    ours = model.calibrate(X[80:120], Y[80:120]).predict_interval(X, confidence=0.8)
    np.testing.assert_allclose(ours, theirs.predict_interval(X)[1][:, :, 0], rtol=1e-9)
    x, y = make_classification(1500, 6, n_informative=4, n_classes=3, random_state=0)
    clf = DropoutMLPClassifier((20,), max_iter=20, dropout=0.1, random_state=0).fit(x[:500], y[:500])
    theirs = SplitConformalClassifier(clf, confidence_level=0.9, prefit=True, conformity_score="lac")
    sets = theirs.conformalize(x[500:900], y[500:900]).predict_set(x[900:])[1][:, :, 0]
    np.testing.assert_array_equal(clf.calibrate(x[500:900], y[500:900]).predict_set(x[900:]), sets)


def test_sets_and_intervals_need_rows_that_the_networks_do_not_know():
    model = quick().fit(X, Y)
    with pytest.raises(ConfigError, match=r"calibrate\(X, y\)"):
        model.predict_interval(X)
    model.calibrate(X[:8], Y[:8])
    with pytest.warns(UserWarning, match="needs at least 9"):
        assert np.isinf(model.predict_interval(X)).all()
    for odd in (1.0, "0.9", -1):
        with pytest.raises(ConfigError, match="confidence must be a number between 0 and 1"):
            model.predict_interval(X, odd)
    for change in (lambda: model.fit(X, Y), lambda: setattr(model, "coefs_", model.coefs_)):
        change()
        with pytest.raises(ConfigError, match="calibrate"):
            model.predict_interval(X)
        model.calibrate(X, Y)


def test_intervals_of_counts_begin_at_0_or_above():
    counts = np.abs(Y) // 20
    low, high = quick("poisson").fit(X, counts).calibrate(X, counts).predict_interval(X, 0.99).T
    assert low.min() == 0
    assert (high > low).all()


@pytest.mark.parametrize(
    ("given", "y", "fault", "words"),
    [
        ({"quantiles": [0.9, 0.1]}, Y, ConfigError, "ascending"),
        ({"quantiles": [0.0, 0.5]}, Y, ConfigError, "quantiles"),
        ({"loss": "log_loss"}, Y, ConfigError, "loss"),
        ({"loss": "poisson"}, Y, DataError, "valid range of the loss 'poisson'"),
        ({"regularizers": {"label_smoothing": 0.1}}, Y, ConfigError, "smooths classes"),
        ({}, np.where(Y > 1e9, Y, np.nan), ValueError, "NaN"),
        ({"learning_rate_init": 1e30, "solver": "sgd", "max_iter": 30}, Y, DataError, "finite"),
        ({"warm_start": True, "loss": "huber"}, Y, ConfigError, "same loss only, squared_error; found huber"),
        ({"warm_start": True, "scale_targets": False}, Y, ConfigError, "same scale_targets only"),
    ],
)
def test_what_cannot_be_is_one_clear_error_and_leaves_the_model_as_it_was(given, y, fault, words):
    model = quick(max_iter=2).fit(X, Y)
    before = model.predict(X)
    with pytest.raises(fault, match=words):
        model.set_params(**given).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_training_goes_on_with_the_first_rows_scale():
    model = clone(quick()).partial_fit(X[:60], Y[:60])
    scale = model.target_scale_.copy()
    assert model.partial_fit(X[60:], 5 * Y[60:]).target_scale_ == scale == pytest.approx(Y[:60].std())
    with pytest.raises(DataError, match="1 numbers a row"):
        model.partial_fit(X, BOTH)


def test_a_constant_target_is_predicted():
    assert quick().fit(X, np.full(len(X), 7.0)).predict(X) == pytest.approx(7.0, abs=0.2)


@pytest.mark.parametrize("metric", ["loss", "score"])
def test_rows_held_out_may_all_have_the_same_number(metric):
    """R² is then 1 − the mean squared error of scaled targets, which falls as the loss rises."""
    given = {"early_stopping": True, "stopping_metric": metric, "precision": "fp64"}
    model = quick(**given).fit(X, BOTH, X_val=X[:20], y_val=np.full((20, 2), 0.1))
    scores, losses = np.array(model.validation_scores_), np.array(model.validation_loss_curve_)
    np.testing.assert_allclose(scores, 1 - losses)
    wrong = ((model.predict(X[:20]) - 0.1) / model.target_scale_) ** 2
    assert scores.max() == pytest.approx(1 - wrong.mean())


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e200, 1e304])
def test_targets_may_be_tiny_or_huge(unit):
    for loss, y in (("squared_error", Y), ("poisson", np.abs(Y))):
        plain, other = (quick(loss).fit(X, y * factor).predict(X) / factor for factor in (1, unit))
        np.testing.assert_allclose(other, plain, rtol=1e-3)


def test_what_the_dtype_of_the_rows_cannot_hold_is_an_error():
    with pytest.raises(DataError, match="must be finite"):
        quick().fit(X.astype("f4"), Y * 1e45).predict(X.astype("f4"))
