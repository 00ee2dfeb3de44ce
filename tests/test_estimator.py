"""`DropoutMLPClassifier` against scikit-learn's `MLPClassifier` and plain formulas, and in scikit-learn's tools."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris, make_classification, make_multilabel_classification
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from droplab import DropoutMLPClassifier
from droplab.errors import ConfigError, DroplabError
from droplab.model.network import Batch
from droplab.model.noise import Noise, training_keys
from droplab.model.regularizers import INPUT
from droplab.train.device import has_bf16_units
from droplab.train.networks import assemble

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(150, 8, n_informative=5, n_classes=3, random_state=0)
TWO = np.where(y == 0, "no", "yes")
SEVERAL = make_multilabel_classification(150, 8, n_classes=4, random_state=0)


def quick(**given):
    usual = {"hidden_layer_sizes": (12,), "max_iter": 5, "random_state": 0, "precision": "fp64"}
    return DropoutMLPClassifier(**usual | given)


# --- the same numbers as scikit-learn's


def twins(X, y, sample_weight=None, **given):
    """Ours and scikit-learn's, trained for 12 epochs from the same weights; or for 5 iterations of L-BFGS.

    (More of these part: its line search takes another way for a last bit.)
    """
    settings = {"hidden_layer_sizes": (9, 7), "shuffle": False, "warm_start": True, "max_iter": 1, "batch_size": 40}
    settings |= {"random_state": 0, "tol": 1e-9} | given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = DropoutMLPClassifier(dropout=0, precision="fp64", **settings).fit(X, y)
        theirs = MLPClassifier(**settings).fit(X, y)
        theirs.coefs_ = [weights.copy() for weights in ours.coefs_]
        theirs.intercepts_ = [biases.copy() for biases in ours.intercepts_]
        for model in (ours, theirs):
            model.set_params(max_iter=5 if model.solver == "lbfgs" else 12)
            model.fit(X, y, sample_weight)
    return ours, theirs


@pytest.mark.parametrize(
    "given",
    [
        {"solver": "sgd", "learning_rate_init": 0.05},
        {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0},
        {"solver": "adam", "learning_rate_init": 0.01, "beta_1": 0.8, "beta_2": 0.99},
        {"solver": "lbfgs", "batch_size": "auto"},
        {"solver": "sgd", "activation": "tanh", "alpha": 0.5},
        {"solver": "sgd", "activation": "logistic", "hidden_layer_sizes": (6,)},
        {"solver": "sgd", "activation": "identity"},
        {"solver": "sgd", "hidden_layer_sizes": ()},
    ],
    ids=lambda given: " ".join(f"{name}={value}" for name, value in given.items()),
)
@pytest.mark.parametrize("labels", ["three", "two", "several"])
@pytest.mark.filterwarnings("ignore:.*cannot act")
def test_without_dropout_the_weights_are_scikit_learns(given, labels):
    data = {"three": (X, y), "two": (X, TWO), "several": SEVERAL}[labels]
    ours, theirs = twins(*data, **given)
    for mine, its in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(data[0]), theirs.predict_proba(data[0]), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(data[0]), theirs.predict(data[0]))
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-6)
    assert (ours.n_layers_, ours.n_outputs_, ours.out_activation_) == (
        theirs.n_layers_,
        theirs.n_outputs_,
        theirs.out_activation_,
    )


def test_weighted_rows_train_to_scikit_learns_weights():
    weights = np.random.default_rng(0).uniform(0, 3, len(X))
    ours, theirs = twins(X, y, weights, solver="sgd", learning_rate_init=0.05)
    for mine, its in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-9)


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive"])
def test_schedules_are_scikit_learns(schedule):
    given = {"solver": "sgd", "learning_rate": schedule, "learning_rate_init": 0.5, "n_iter_no_change": 1}
    ours, theirs = twins(X, y, **given | {"hidden_layer_sizes": (5,), "tol": 0.05})
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-8)
    assert ours.t_ == theirs.t_


def test_it_stops_when_scikit_learns_stops():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = {"hidden_layer_sizes": (9,), "solver": "sgd", "shuffle": False, "tol": 0.01, "max_iter": 300}
        ours = DropoutMLPClassifier(dropout=0, random_state=0, precision="fp64", **given).fit(X, y)
        theirs = MLPClassifier(random_state=0, **given)
    losses = np.array(ours.loss_curve_)
    best = np.minimum.accumulate(np.concatenate([[np.inf], losses]))[:-1]
    waited = 0
    for epoch, better in enumerate(losses <= best - 0.01):
        waited = 0 if better else waited + 1
        assert (waited > theirs.n_iter_no_change) == (epoch == ours.n_iter_ - 1)
    assert ours.n_iter_ == len(losses) < 300


def test_parameters_and_defaults_are_those_of_mlp_classifier_and_ours_after_them():
    ours, theirs = DropoutMLPClassifier().get_params(), MLPClassifier().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert set(ours) - set(theirs) == {
        "stopping_metric",
        "time_limit",
        "callbacks",
        "schedule_final",
        "warmup_epochs",
        "dropout",
        "input_dropout",
        "regularizers",
        "n_seeds",
        "class_weight",
        "device",
        "precision",
        "mc_samples",
        "numeric_encoding",
        "initial_weights",
    }


# --- dropout and the other regularizers


def test_a_step_with_dropout_is_the_plain_formula():
    """One step of SGD on all rows, with the very masks, by autograd over plain expressions."""
    given = {"dropout": 0.3, "input_dropout": 0.2, "solver": "sgd", "momentum": 0, "batch_size": 150, "shuffle": False}
    clf = quick(warm_start=True, max_iter=3, **given).fit(X, y)
    start = copy.deepcopy(clf)
    trained = clf.set_params(max_iter=1).fit(X, y)
    noise = Noise(training_keys([clf.networks_[0].seed], 3, 1, torch.device("cpu"))[0])
    rates = torch.tensor([[[0.2]], [[0.3]]])
    w = [torch.tensor(np.ascontiguousarray(part), requires_grad=True) for part in start.coefs_]
    b = [torch.tensor(part, requires_grad=True) for part in start.intercepts_]
    kept_inputs = noise.of("input_dropout").kept(INPUT, rates[0], 150, 8)[0].double() / (1 - round(0.2 * 2**16) / 2**16)
    kept_hidden = noise.of("dropout").kept(0, rates[1], 150, 12)[0].double() / (1 - round(0.3 * 2**16) / 2**16)
    hidden = torch.relu((torch.tensor(X) * kept_inputs) @ w[0] + b[0]) * kept_hidden
    loss = torch.nn.functional.cross_entropy(hidden @ w[1] + b[1], torch.tensor(y))
    (loss + 0.0001 / 2 * sum((part**2).sum() for part in w) / 150).backward()
    for mine, part in zip(trained.coefs_ + trained.intercepts_, w + b, strict=True):
        np.testing.assert_allclose(mine, (part - 0.001 * part.grad).detach().numpy(), atol=1e-9)


def test_steps_made_many_at_once_are_those_made_one_by_one(monkeypatch):
    from droplab.estimator import policy

    many = quick(batch_size=20, max_iter=2).fit(X, y)
    monkeypatch.setattr(policy, "_NUMBERS_AT_ONCE", 1)
    one_by_one = quick(batch_size=20, max_iter=2).fit(X, y)
    np.testing.assert_array_equal(many.coefs_[0], one_by_one.coefs_[0])


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("labels", [y, TWO], ids=["softmax", "logistic"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"solver": "sgd", "hidden_layer_sizes": (9, 6), "dropout": [0.5, 0.3], "activation": "tanh"},
        {"regularizers": {"batch_norm": 1, "l1": 0.01, "max_norm": 1.0}, "input_dropout": 0.2},
        {"regularizers": {"gaussian_dropout": 0.3, "label_smoothing": 0.1, "weight_decay": 0.1, "kl_sparsity": 0.1}},
        {"solver": "sgd", "momentum": 0, "activation": "logistic", "early_stopping": True, "n_iter_no_change": 1},
    ],
    ids=str,
)
def test_steps_replayed_are_the_plain_ones(given, labels, n_seeds, monkeypatch):
    """Bit for bit, over batches of two sizes."""
    from droplab.estimator import policy

    given = given | {"n_seeds": n_seeds, "batch_size": 40, "max_iter": 8}
    replayed = quick(**given).fit(X, labels)
    monkeypatch.setattr(policy, "replayed", lambda: policy.plain_step)
    plain = quick(**given).fit(X, labels)
    for one, other in zip(replayed.networks_, plain.networks_, strict=True):
        assert one.loss_curve == other.loss_curve
        for mine, its in zip(one.coefs + one.intercepts, other.coefs + other.intercepts, strict=True):
            np.testing.assert_array_equal(mine, its)


def test_chance_does_not_stop_the_training_for_a_lucky_epoch():
    clf = quick(max_iter=400, n_iter_no_change=5, tol=1e-3).fit(X, y)
    losses = np.array(clf.loss_curve_)
    looked_at = np.array([losses[max(0, k - 4) : k + 1].mean() for k in range(len(losses))])
    best = np.minimum.accumulate(np.concatenate([[np.inf], looked_at]))[:-1]
    waited, better = 0, looked_at <= best - 1e-3
    for epoch in range(len(losses)):
        waited = 0 if better[epoch] else waited + 1
        assert (waited > 5) == (epoch == len(losses) - 1)
    assert len(losses) < 400


def test_networks_side_by_side_are_the_networks_alone():
    given = {"dropout": [0.5, 0.2], "hidden_layer_sizes": (12, 6), "regularizers": {"l1": 1e-3, "max_norm": 1.0}}
    together = quick(n_seeds=3, batch_size=32, **given).fit(X, y)
    alone = quick(batch_size=32, **given).fit(X, y)
    assert alone.networks_[0].seed == together.networks_[0].seed
    np.testing.assert_allclose(together.networks_[0].coefs[0], alone.coefs_[0], atol=1e-9)
    assert len({network.seed for network in together.networks_}) == 3


def test_probabilities_are_the_mean_over_the_networks():
    clf = quick(n_seeds=3).fit(X, y)
    each = []
    for network in clf.networks_:
        hidden = np.maximum(X @ network.coefs[0] + network.intercepts[0], 0)
        logits = np.exp(hidden @ network.coefs[1] + network.intercepts[1])
        each.append(logits / logits.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(clf.predict_proba(X), np.mean(each, axis=0), atol=1e-12)
    np.testing.assert_array_equal(clf.predict(X), np.mean(each, axis=0).argmax(axis=1))


def test_max_norm_bounds_the_incoming_weights():
    clf = quick(regularizers={"max_norm": 0.5}, learning_rate_init=0.1).fit(X, y)
    assert np.linalg.norm(clf.coefs_[0], axis=0).max() <= 0.5 + 1e-12


def test_batch_normalization_is_folded_into_the_weights():
    clf = quick(regularizers={"batch_norm": 1}, dropout=0, max_iter=50, learning_rate_init=0.01).fit(X, y)
    hidden = np.maximum(X @ clf.coefs_[0] + clf.intercepts_[0], 0)
    said = (hidden @ clf.coefs_[1] + clf.intercepts_[1]).argmax(axis=1)
    np.testing.assert_array_equal(said, clf.predict(X))
    assert clf.score(X, y) > 0.7


@pytest.mark.parametrize("labels", [y, TWO], ids=["softmax", "logistic"])
def test_label_smoothing_aims_at_the_smoothed_cross_entropy(labels):
    clf = quick(dropout=0, alpha=0, regularizers={"label_smoothing": 0.3}, batch_size=150, warm_start=True)
    clf.fit(X, labels).set_params(max_iter=1, learning_rate_init=1e-300).fit(X, labels)
    classes = len(clf.classes_)
    aim = np.eye(classes)[np.searchsorted(clf.classes_, labels)] * 0.7 + 0.3 / classes
    np.testing.assert_allclose(clf.loss_, -(aim * clf.predict_log_proba(X)).sum(axis=1).mean(), rtol=1e-9)


def test_class_weights_are_weights_of_rows():
    by_class = quick(dropout=0, class_weight={0: 5.0, 1: 1.0, 2: 0.5}).fit(X, y)
    by_row = quick(dropout=0).fit(X, y, np.array([5.0, 1.0, 0.5])[y])
    np.testing.assert_allclose(by_class.coefs_[0], by_row.coefs_[0])
    for some in (by_class, by_row):  # rows may lack a class whose weight is 1 unless given
        some.set_params(class_weight={0: 5.0, 2: 0.5}).partial_fit(X[y > 0], y[y > 0])
    np.testing.assert_allclose(by_class.coefs_[0], by_row.coefs_[0])


def test_rows_without_weight_do_not_count():
    weights = np.where(np.arange(150) < 100, 1.0, 0.0)
    odd = np.where(weights > 0, y, (y + 1) % 3)
    one = quick(dropout=0, batch_size=7, shuffle=False).fit(X, y, weights)
    other = quick(dropout=0, batch_size=7, shuffle=False).fit(X, odd, weights)
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    assert np.isfinite(one.coefs_[0]).all()


def test_partial_fit_epoch_by_epoch_is_fit():
    whole = quick(tol=1e-12).fit(X, y)
    parts = quick()
    for _ in range(5):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_allclose(parts.coefs_[0], whole.coefs_[0], atol=1e-12)


def test_a_warm_start_goes_on():
    clf = quick(warm_start=True, max_iter=3).fit(X, y)
    before = clf.coefs_[0].copy()
    assert len(clf.fit(X, y).loss_curve_) == 6
    assert not np.array_equal(before, clf.coefs_[0])
    with pytest.raises(ConfigError, match="same hidden_layer_sizes"):
        clf.set_params(hidden_layer_sizes=(3,)).fit(X, y)


def test_uncertainty_is_that_of_the_draws():
    clf = quick(n_seeds=2, mc_samples=6).fit(X, y)
    told = clf.predict_uncertainty(X[:40])
    draws = np.stack([clf._passes(X[:40], sample) for sample in range(6)]).reshape(12, 40, 3)
    np.testing.assert_allclose(told.mean, draws.mean(axis=0))
    np.testing.assert_allclose(told.std, draws.std(axis=0))
    entropy = -(told.mean * np.log(told.mean)).sum(axis=1)
    np.testing.assert_allclose(told.entropy, entropy)
    np.testing.assert_allclose(told.mutual_information, entropy + (draws * np.log(draws)).sum(axis=2).mean(axis=0))
    assert (told.mutual_information > 0).all()
    two = quick(hidden_layer_sizes=(12,)).fit(X, TWO).predict_uncertainty(X[:7])
    assert two.mean.shape == (7, 2)
    np.testing.assert_allclose(two.mean.sum(axis=1), 1)
    assert quick().fit(*SEVERAL).predict_uncertainty(X[:7]).entropy.shape == (7, 4)


def test_dropout_off_and_masks_give_the_same_mean_on_a_linear_path():
    """Inverted dropout: the mean over masks of what the output layer is given is what it is given without."""
    clf = quick(activation="identity", dropout=0.5, mc_samples=400).fit(X, TWO)
    told = clf.predict_uncertainty(X[:20])
    logits = np.log(told.mean[:, 1] / told.mean[:, 0])
    off = np.log(clf.predict_proba(X[:20])[:, 1] / clf.predict_proba(X[:20])[:, 0])
    assert np.corrcoef(logits, off)[0, 1] > 0.99


# --- what it takes


@pytest.mark.parametrize(
    ("given", "narrow", "wide"),
    [
        ({}, np.float32, np.float32),
        ({"dropout": 0, "batch_size": 50}, np.float32, np.float32),
        ({"dropout": 0}, np.float32, np.float64),
        ({"dropout": 0, "solver": "lbfgs"}, np.float32, np.float64),
        ({"precision": "fp32", "dropout": 0}, np.float32, np.float32),
        ({"precision": "fp64"}, np.float64, np.float64),
    ],
    ids=str,
)
def test_double_precision_is_for_what_only_rounding_could_change(given, narrow, wide):
    for dtype, expected in ((np.float32, narrow), (np.float64, wide)):
        clf = quick(**{"precision": "auto"} | given).fit(X.astype(dtype), y)
        assert clf.networks_[0].coefs[0].dtype == expected
        assert clf.coefs_[0].dtype == np.result_type(dtype, expected)
        assert clf.predict_proba(X.astype(dtype)).dtype == dtype
        np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1, rtol=1e-12)


def test_single_precision_is_near():
    single, double = quick(precision="fp32").fit(X, y), quick().fit(X, y)
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=1e-4)


def test_bf16_is_near_where_the_processor_has_it():
    if not has_bf16_units("cpu"):
        with pytest.raises(DroplabError, match="bf16"):
            quick(precision="bf16").fit(X, y)
        return
    rough, exact = quick(precision="bf16").fit(X, y), quick().fit(X, y)
    np.testing.assert_allclose(rough.predict_proba(X), exact.predict_proba(X), atol=0.05)
    assert not np.allclose(rough.predict_proba(X), exact.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_rows_are_the_dense_ones(kind):
    thin = np.where(np.abs(X) > 1, X, 0)
    dense, thinned = quick().fit(thin, y), quick().fit(kind(thin), y)
    np.testing.assert_allclose(thinned.coefs_[0], dense.coefs_[0])
    np.testing.assert_allclose(thinned.predict_proba(kind(thin)), dense.predict_proba(thin))


def test_frames_keep_their_columns_names():
    import polars

    names = [f"c{i}" for i in range(8)]
    frame = pd.DataFrame(X, columns=names)
    clf = quick().fit(frame, pd.Series(TWO))
    assert list(clf.feature_names_in_) == names
    np.testing.assert_array_equal(clf.predict(frame), quick().fit(X, TWO).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"c0": "other"}))
    other = quick().fit(polars.DataFrame(X, schema=names), polars.Series(TWO))
    assert list(other.feature_names_in_) == names
    np.testing.assert_allclose(other.coefs_[0], clf.coefs_[0])


@pytest.mark.parametrize(
    "labels", [y == 0, y - 7, y.astype(float), y.astype(str), TWO.astype(object)], ids=lambda y: y.dtype
)
def test_labels_of_any_type_come_back(labels):
    clf = quick(max_iter=60, learning_rate_init=0.01).fit(X, labels)
    assert set(clf.predict(X)) <= set(labels)
    assert clf.score(X, labels) > 0.7


def test_integers_and_truth_values_are_features():
    np.testing.assert_array_equal(quick().fit((X > 0), y).coefs_[0], quick().fit((X > 0).astype(np.uint8), y).coefs_[0])


# --- in scikit-learn's tools


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), quick()),
        GridSearchCV(quick(), {"dropout": [0.0, 0.5], "n_seeds": np.array([1, 2])}, cv=2),
        CalibratedClassifierCV(quick(), cv=2),
        VotingClassifier([("a", quick()), ("b", quick(dropout=0))], voting="soft"),
    ],
    ids=["pipeline", "grid search", "calibration", "voting"],
)
def test_it_works_in(model):
    assert model.fit(X, y).predict(X).shape == y.shape


def test_it_works_in_several_jobs():
    """In an interpreter of its own: joblib's workers live on after the search."""
    script = """
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from droplab import DropoutMLPClassifier
search = GridSearchCV(DropoutMLPClassifier(max_iter=5, random_state=0), {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2)
print(search.fit(*load_iris(return_X_y=True)).best_score_)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) <= 1


def test_it_works_in_cross_validation_and_behind_a_column_transformer():
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"]).assign(town=np.where(X[:, 2] > 0, "Ulm", "Bern"))
    columns = ColumnTransformer([("town", OneHotEncoder(), ["town"]), ("rest", StandardScaler(), ["a", "b"])])
    assert len(cross_val_score(make_pipeline(columns, quick()), frame, y, cv=3)) == 3


def test_pickles_and_copies_say_the_same_and_go_on():
    clf = quick(n_seeds=2, regularizers={"batch_norm": 1}).fit(X, y)
    for twin in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):  # noqa: S301 - its own bytes
        np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
        twin.partial_fit(X, y)
        assert not np.array_equal(twin.coefs_[0], clf.coefs_[0])


def test_the_same_state_gives_the_same_network_and_another_another():
    first, again, other = (quick(random_state=s).fit(X, y).coefs_[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_it_is_silent_unless_verbose(capsys):
    quick().fit(X, y)
    quick(solver="lbfgs", dropout=0).fit(X, y)
    assert capsys.readouterr() == ("", "")
    quick(verbose=True, n_seeds=2, max_iter=2, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("network 0: Iteration 1, loss = ")
    assert "validation score" in lines[0]


def test_ctrl_c_keeps_what_is_there(monkeypatch):
    from droplab.train import loop

    done, run = [], loop.run_epoch

    def interrupted(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(run(*args))
        return done[-1]

    monkeypatch.setattr(loop, "run_epoch", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        clf = quick().fit(X, y)
    assert clf.n_iter_ == 2
    assert clf.predict(X).shape == y.shape


# --- bad input


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dropout": 1.0}, "r: dropout: input should be 'auto', or must be a rate in"),
        ({"dropout": [0.1, 0.2]}, "one for each of 1 hidden layers"),
        ({"dropout": float("nan")}, "dropout"),
        ({"input_dropout": -0.1}, "input_dropout"),
        ({"hidden_layer_sizes": 0}, "hidden_layer_sizes"),
        ({"activation": "gelu"}, "activation"),
        ({"solver": "lbfgs", "dropout": 0.2}, "without chance.*found dropout.*dropout=0"),
        ({"solver": "lbfgs", "dropout": 0, "regularizers": {"max_norm": 3}}, "max_norm"),
        ({"solver": "lbfgs", "dropout": 0, "input_dropout": 0.1}, "input_dropout"),
        ({"regularizers": {"maxnorm": 3}}, "Did you mean 'max_norm'"),
        ({"regularizers": {"dropout_by_layer": 0.3}}, r"dropout=\["),
        ({"regularizers": {"early_stopping": 3}}, "early_stopping=True"),
        ({"regularizers": 3}, "regularizers"),
        ({"n_seeds": 0}, "n_seeds"),
        ({"class_weight": "balance"}, "class_weight"),
        ({"device": "tpu"}, "device"),
        ({"precision": "fp8"}, "precision"),
        ({"alpha": -1, "max_iter": 0}, "alpha.*max_iter"),
        ({"batch_size": 0}, "r: batch_size: input should be 'auto', or be greater than or equal to 1; found 0.$"),
        ({"learning_rate": "sine"}, "learning_rate"),
        ({"early_stopping": True, "validation_fraction": 0.0}, "found 0 and 150 with validation_fraction=0"),
        ({"early_stopping": True, "validation_fraction": 0.005}, "found 1 and 149 with validation_fraction=0.005"),
        ({"early_stopping": True, "validation_fraction": 0.999}, "found 150 and 0 with validation_fraction=0.999"),
        ({"alpha": 1e300}, "alpha.*at most 1e.38"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_one_clear_error(given, words):
    with pytest.raises((DroplabError, ValueError), match=f"(?s){words}"):
        quick(**given).fit(X, y)


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (np.where(X > 2, np.nan, X), y, "NaN"),
        (np.where(X > 2, np.inf, X), y, "infinity"),
        (X + 1j, y, "Complex"),
        (X.astype(str) + "?", y, "could not convert"),
        (X[:, 0], y, "1D array"),
        (X[:, :, None], y, "dim"),
        (X[:0], y[:0], "0 sample"),
        (X[:, :0], y, "0 feature"),
        (X, y + 0.5, "continuous"),
        (X, y[:-1], "inconsistent numbers"),
        (X, None, "y"),
    ],
    ids=[
        "NaN",
        "inf",
        "complex",
        "text",
        "1-D",
        "3-D",
        "no rows",
        "no features",
        "continuous",
        "short",
        "no y",
    ],
)
def test_wrong_data_is_one_clear_error(features, labels, words):
    with pytest.raises(ValueError, match=words):
        quick().fit(features, labels)


def test_what_cannot_act_says_so():
    with pytest.warns(UserWarning, match="momentum, power_t cannot act with solver='adam'"):
        quick(momentum=0.5, power_t=0.1).fit(X, y)
    with pytest.warns(UserWarning, match="dropout cannot act"):
        quick(hidden_layer_sizes=(), dropout=0.2).fit(X, y)
    with pytest.warns(UserWarning, match="clipped to 150"):
        quick(batch_size=1000).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="not converged"):
        quick().fit(X, y)
    with pytest.raises(ConfigError, match="something random"):
        quick(dropout=0).fit(X, y).predict_uncertainty(X)
    assert not hasattr(quick(solver="lbfgs"), "partial_fit")


def test_partial_fit_refuses_what_it_cannot_keep():
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        quick().partial_fit(X, y)
    with pytest.raises(ConfigError, match="early_stopping"):
        quick(early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes \[.*0.*1.*\]; found \[.*2.*\]"):
        quick().partial_fit(X, y, classes=[0, 1])


def test_weights_that_blow_up_are_an_error():
    with pytest.raises(ValueError, match=r"finite.*Scale the features"):
        quick(solver="sgd", dropout=0, max_iter=50).fit(X * 1e200, y)


def test_an_objective_of_two_networks_is_that_of_each():
    clf = quick(n_seeds=2, dropout=0, regularizers={"l2": 0.1, "kl_sparsity": 0.1}).fit(X, y)
    networks, network = clf._networks, clf._networks.network
    layers, _ = assemble(network, networks.flat, [])
    strengths = network.strengths([clf._fitted.used] * 2)
    batch = Batch(torch.tensor(X).expand(2, -1, -1), torch.tensor(y).expand(2, -1))
    _, both = network.objective(layers, [], batch, Noise(torch.zeros(2, dtype=torch.int64)), strengths)
    for r in range(2):
        part = slice(r, r + 1)
        one = [type(layer)(layer.weight[part], layer.bias[part]) for layer in layers]
        alone = Batch(batch.features[part], batch.targets[part])
        _, aim = network.objective(one, [], alone, Noise(torch.zeros(1, dtype=torch.int64)), strengths[:, part])
        torch.testing.assert_close(aim[0], both[r])


def test_digits_and_iris_are_learnt_with_the_defaults():
    for data in (load_iris(return_X_y=True), load_digits(return_X_y=True)):
        model = make_pipeline(StandardScaler(), DropoutMLPClassifier(random_state=0))
        assert cross_val_score(model, *data, cv=3).mean() > 0.9


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", ["linear", "flat_cosine"])
def test_schedules_of_studies_serve_every_solver(solver, schedule):
    """Half the training at a constant rate, held against the schedule that is constant there; then they part."""
    how = {"solver": solver, "max_iter": 8, "n_iter_no_change": 8, "batch_size": 16, "schedule_final": 0.1}
    constant, falls = (
        quick(learning_rate=rate, **(how if rate != "constant" else how | {"schedule_final": 0.01})).fit(X, y)
        for rate in ("constant", schedule)
    )
    same = 4 if schedule == "flat_cosine" else 0
    assert (np.array(constant.loss_curve_) == falls.loss_curve_).tolist()[:5] == [k < same for k in range(5)]
    assert constant.loss_curve_[-1] != falls.loss_curve_[-1]
