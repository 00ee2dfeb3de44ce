"""`DropoutMLPClassifier` where numbers overflow, calls fail, and arrays and labels come in odd ways."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from droplab import DropoutMLPClassifier
from droplab.errors import ConfigError, DataError
from droplab.estimator import base
from droplab.train import loop

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(150, 4, n_informative=3, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0)
FRAME = pd.DataFrame(X, columns=["age", "height", "weight", "dose"])
SEVERAL = make_multilabel_classification(150, 4, n_classes=3, random_state=0)[1]


def quick(**given):
    return DropoutMLPClassifier(**{"hidden_layer_sizes": (12,), "max_iter": 5, "random_state": 0} | given)


# --- no number that is none


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize(
    "given",
    [
        {"solver": "sgd", "learning_rate_init": 1e30},
        {"solver": "sgd", "learning_rate_init": 1e30, "dropout": 0},
        {"solver": "sgd", "learning_rate_init": 1e30, "regularizers": {"l1": 1e-3}},
        {"solver": "adam", "learning_rate_init": 1e38},
    ],
    ids=str,
)
def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do(given, n_seeds, early_stopping):
    clf = quick(**given, n_seeds=n_seeds, early_stopping=early_stopping, max_iter=30)
    with pytest.raises(DataError, match=r"finite; found a .*loss of (nan|inf).*epoch \d+.*Scale.*learning_rate_init"):
        clf.fit(X * 100, y)
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_a_network_among_several_that_diverges_is_an_error(monkeypatch):
    run = loop.run_epoch
    monkeypatch.setattr(loop, "run_epoch", lambda *args: np.vstack([run(*args)[:-1], [[np.nan, np.nan]]]))
    with pytest.raises(DataError, match="found a loss of nan in epoch 1"):
        quick(n_seeds=3).fit(X, y)


def test_training_ends_in_the_epoch_that_diverges(capsys):
    with pytest.raises(DataError, match="in epoch 2"):
        quick(solver="sgd", learning_rate_init=1e30, max_iter=10**6, verbose=True).fit(X * 100, y)
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("solver", ["lbfgs", "adam", "sgd"])
def test_an_overflow_in_double_precision_names_the_largest_feature(solver):
    spoilt = FRAME.copy()
    spoilt.loc[7, "dose"] = -1e300
    with pytest.raises(DataError, match=r"finite.*-1e\+300 in row 7, column 'dose'"):
        quick(solver=solver, dropout=0, precision="fp64").fit(spoilt, y)


def test_moments_that_stop_adam_are_an_error():
    """Squares of the gradient overflow."""
    with pytest.raises(DataError, match="must keep its loss and weights finite; found"):
        quick(precision="fp32").fit(X * 1e25, y)


def test_a_partial_fit_that_diverges_is_an_error():
    with pytest.raises(DataError, match="finite"):
        quick(precision="fp64").partial_fit(X * 1e200, y, classes=[0, 1, 2])


@pytest.mark.filterwarnings("ignore:early stopping kept", "ignore:(?s).*fits failed", "ignore:.*non-finite:UserWarning")
def test_a_grid_search_does_not_rank_what_diverges():
    search = GridSearchCV(
        quick(solver="sgd", early_stopping=True), {"learning_rate_init": [0.1, 1e30]}, error_score=np.nan, cv=2
    )
    search.fit(X * 100, y)
    assert np.isnan(search.cv_results_["mean_test_score"][1])
    assert search.best_params_ == {"learning_rate_init": 0.1}


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "predict_log_proba", "predict_uncertainty", "score"])
@pytest.mark.parametrize("value", [1e300, -1e300, 3.5e38])
def test_a_feature_that_float32_cannot_hold_is_named(ask, value):
    clf, spoilt = quick().fit(FRAME, y), FRAME.copy()
    spoilt.loc[11, "height"] = value
    given = (spoilt, y) if ask == "score" else (spoilt,)
    words = rf"at most 3.4e\+38.*float32.*{value:g}".replace("e+", r"e\+").replace(r"\\", "\\")
    with pytest.raises(DataError, match=rf"{words} in row 11, column 'height'"):
        getattr(clf, ask)(*given)
    with pytest.raises(DataError, match="in row 11, column 1 "):
        quick().fit(X, y).predict(spoilt.to_numpy())
    with pytest.raises(DataError, match="in row 11, column 1 "):
        quick().fit(X, y).predict_proba(sparse.csr_array(spoilt.to_numpy()))
    with pytest.raises(DataError, match="in row 11, column 'height'"):
        quick().fit(spoilt, y)


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "predict_log_proba", "predict_uncertainty", "score"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_an_output_that_is_not_finite_names_row_and_column(ask, kind):
    clf = quick(n_seeds=2, activation="identity").fit(X, y)
    far = np.zeros((3, 4))
    far[1] = np.sign(clf.coefs_[0].sum(axis=1)) * [3e38, 3.3e38, 3e38, 3e38]
    clf._networks.values.mul_(20)
    with pytest.raises(DataError, match=r"must be finite.*3.3e\+38 in row 1, column 1"):
        getattr(clf, ask)(*((kind(far), y[:3]) if ask == "score" else (kind(far),)))


@pytest.mark.parametrize(
    "weights", [np.full(150, 1e300), np.full(150, 1e-300), np.full(150, 3e37)], ids=["1e300", "1e-300", "3e37"]
)
def test_weights_that_cannot_be_divided_by_their_sum_are_an_error(weights):
    with pytest.raises(DataError, match=r"sample_weight.*Scale the weights"):
        quick().fit(X, y, weights)


def test_a_schedule_that_underflows_is_no_overflow():
    clf = quick(solver="sgd", learning_rate="invscaling", power_t=1e4).fit(X, y)
    assert np.isfinite(clf.coefs_[0]).all()


# --- what fails leaves what was there

BAD = {
    "overflow": lambda clf: clf.fit(FRAME * 1e300, y),
    "divergence": lambda clf: clf.set_params(learning_rate_init=1e38).fit(FRAME, y),
    "divergence of a partial_fit": lambda clf: clf.set_params(learning_rate_init=1e38, alpha=1e38).partial_fit(
        FRAME, y
    ),
    "NaN": lambda clf: clf.fit(FRAME.assign(age=np.nan), y),
    "unknown class": lambda clf: clf.partial_fit(FRAME, y + 1),
    "other classes": lambda clf: clf.set_params(warm_start=True).fit(FRAME, y + 1),
    "other columns": lambda clf: clf.fit(X[:, :2], y, -np.ones(150)),
    "no weight": lambda clf: clf.fit(X[:, :3], np.where(y == 0, "a", "b"), np.full(150, 1e-300)),
    "other shape": lambda clf: clf.set_params(warm_start=True, hidden_layer_sizes=(3,)).fit(FRAME, y),
    "labels of another kind": lambda clf: clf.partial_fit(FRAME, SEVERAL),
    "a parameter": lambda clf: clf.set_params(dropout=2).fit(X[:, :2], y == 0),
    "early stopping": lambda clf: clf.set_params(early_stopping=True, validation_fraction=0.001).fit(X[:, :2], y == 0),
}


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_what_fails_leaves_the_classifier_as_it_was(bad, warm_start):
    clf = quick(n_seeds=2, warm_start=warm_start, regularizers={"batch_norm": 1}).fit(FRAME, y)
    before, said = pickle.dumps({k: v for k, v in vars(clf).items() if k.endswith("_")}), clf.predict_proba(FRAME)
    state, histories, given = clf._networks.copy("cpu"), copy.deepcopy(clf._histories), clf.get_params()
    with pytest.raises(ValueError):  # noqa: PT011 - which one is the claim of other tests
        bad(clf)
    clf.set_params(**given)
    assert pickle.dumps({k: v for k, v in vars(clf).items() if k.endswith("_")}) == before
    np.testing.assert_array_equal(clf.predict_proba(FRAME), said)
    for name, tensor in clf._networks.tensors().items():
        np.testing.assert_array_equal(tensor, state.tensors()[name])
    assert clf._histories == histories
    twin = pickle.loads(pickle.dumps(clf))  # noqa: S301 - its own bytes
    np.testing.assert_array_equal(twin.partial_fit(FRAME, y).coefs_[0], clf.partial_fit(FRAME, y).coefs_[0])


@pytest.mark.parametrize("bad", sorted(set(BAD) - {"other classes", "other shape", "labels of another kind"}))
def test_a_first_fit_that_fails_leaves_it_unfitted(bad):
    clf = quick()
    with pytest.raises(ValueError):  # noqa: PT011 - which one is the claim of other tests
        BAD[bad](clf)
    assert not [name for name in vars(clf) if name.endswith("_") or name.startswith("_")]
    assert clone(clf).set_params(**quick().get_params()).fit(X, y).n_features_in_ == 4


@pytest.mark.parametrize("train", ["fit", "partial_fit"])
def test_ctrl_c_before_the_epochs_leaves_what_was_there(train, monkeypatch):
    clf = quick(warm_start=True).fit(X, y)
    before = clf.coefs_[0].copy()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(base, "check_finite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(clf, train)(X, y)
    np.testing.assert_array_equal(clf.coefs_[0], before)
    monkeypatch.undo()
    assert len(clf.fit(X, y).loss_curve_) == 10


def test_a_fit_on_other_columns_forgets_the_names_of_the_old():
    clf = quick().fit(FRAME, y).fit(X[:, :2], y == 0)
    assert not hasattr(clf, "feature_names_in_")
    assert (clf.n_features_in_, clf.classes_.tolist(), clf.out_activation_) == (2, [False, True], "logistic")


# --- arrays as they come


def _memmap(array, folder):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


def _locked(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "reversed": lambda a, _: a[::-1].copy()[::-1],
    "columns": lambda a, _: np.asfortranarray(a),
    "slices": lambda a, _: np.repeat(a, 2, axis=0)[::2],
    "read-only": lambda a, _: _locked(a),
    "other bytes": lambda a, _: a.astype(a.dtype.newbyteorder()),
    "mapped": _memmap,
    "mapped, other bytes": lambda a, folder: _memmap(a.astype(a.dtype.newbyteorder()), folder),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("lay", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("labels", [y, SEVERAL], ids=["a class", "several labels"])
def test_an_array_is_its_numbers_however_it_lies_in_memory(lay, labels, solver, tmp_path):
    weights = np.linspace(0.5, 2, 150)
    given = {"solver": solver, "dropout": 0}
    usual = quick(**given).fit(X, labels, weights)
    parts = []
    for number, part in enumerate((X, labels, weights)):
        (tmp_path / str(number)).mkdir()
        parts.append(lay(part, tmp_path / str(number)))
    odd = quick(**given).fit(*parts)
    np.testing.assert_array_equal(odd.coefs_[0], usual.coefs_[0])
    np.testing.assert_array_equal(odd.predict_proba(parts[0]), usual.predict_proba(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odd.partial_fit(*parts) if solver == "adam" else odd.predict(parts[0])


def test_reversed_frames_and_columns_are_taken():
    usual = quick(dropout=0).fit(X, y)
    np.testing.assert_array_equal(usual.predict(FRAME.to_numpy()[::-1]), usual.predict(X)[::-1])
    backwards = quick(dropout=0).fit(FRAME[::-1], y[::-1])
    assert backwards.score(FRAME[::-1], y[::-1]) == backwards.score(FRAME, y)
    assert quick().fit(X[:, ::-1], y).predict(X[::2, ::-1]).shape == (75,)


# --- labels as they come


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array, sparse.lil_matrix])
def test_sparse_labels_are_the_dense_ones(kind):
    dense, thinned = quick().fit(X, SEVERAL), quick().fit(X, kind(SEVERAL))
    np.testing.assert_array_equal(thinned.coefs_[0], dense.coefs_[0])
    assert sparse.issparse(thinned.predict(X)), "as scikit-learn's"
    np.testing.assert_array_equal(thinned.predict(X).toarray(), dense.predict(X))
    assert thinned.score(X, kind(SEVERAL)) == dense.score(X, SEVERAL)
    weighted = quick(class_weight="balanced").fit(X, kind(SEVERAL))
    np.testing.assert_array_equal(weighted.coefs_[0], quick(class_weight="balanced").fit(X, SEVERAL).coefs_[0])
    goes_on = quick().partial_fit(X, kind(SEVERAL)).partial_fit(X, SEVERAL)
    np.testing.assert_array_equal(goes_on.coefs_[0], quick().partial_fit(X, SEVERAL).partial_fit(X, SEVERAL).coefs_[0])


TEXT = np.where(y == 0, "no", "yes").astype(object)
MISSING = {
    "None": np.where(np.arange(150) == 3, None, TEXT),
    "nan among text": [np.nan if row == 3 else label for row, label in enumerate(TEXT)],
    "nan among numbers": np.where(np.arange(150) == 3, np.nan, y),
    "text": pd.Series(np.where(np.arange(150) == 3, pd.NA, TEXT), dtype="string"),
    "integers": pd.Series(np.where(np.arange(150) == 3, pd.NA, y), dtype="Int64"),
    "category": pd.Series(pd.Categorical(np.where(np.arange(150) == 3, None, TEXT))),
    "several": np.where(np.arange(150)[:, None] == 3, np.nan, SEVERAL),
    "date": np.where(np.arange(150) == 3, np.datetime64("NaT"), np.datetime64("2020-01-01") + y),
}


@pytest.mark.parametrize("labels", MISSING.values(), ids=MISSING)
def test_a_label_that_is_missing_names_its_row(labels):
    with pytest.raises(DataError, match="y must have a label in every row; found none in row 3 "):
        quick().fit(X, labels)
    if np.ndim(labels) == 1:
        with pytest.raises(DataError, match=r"classes must have a label.*row 3 "):
            quick().partial_fit(X, y, classes=labels)


@pytest.mark.parametrize(
    "labels",
    [np.where(y == 0, 1, TEXT), list(np.where(y == 0, 1, TEXT)), np.where(y == 0, True, TEXT), y.astype(object)],
    ids=["mixed", "list", "truth and text", "numbers as objects"],
)
def test_labels_of_two_kinds_or_of_none_are_an_error(labels):
    with pytest.raises(DataError, match=r"y must be text throughout, or numbers.*in row \d+ .*astype"):
        quick().fit(X, labels)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(y, dtype="Int64"),
        pd.Series(y == 0, dtype="boolean"),
        pd.Series(TEXT, dtype="string"),
        pd.Series(TEXT, dtype="category"),
        list(TEXT),
        y.tolist(),
        y.astype(np.float32),
        np.datetime64("2020-01-01") + y,
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
def test_labels_of_every_kind_that_scikit_learn_takes_are_taken(labels):
    clf = quick(max_iter=80, learning_rate_init=0.02).fit(X, labels)
    assert set(clf.predict(X)) <= set(np.asarray(labels))
    assert clf.score(X, labels) > 0.7


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (SEVERAL, y, "3 labels; found one class a row"),
        (SEVERAL, SEVERAL[:, :2], "3 labels; found 0 and 1 for each of 2"),
        (y, SEVERAL, "one class a row; found 0 and 1 for each of 3"),
        (TEXT, np.where(y == 0, "no", "perhaps"), r"\['no'.*'yes'\].*\['no'.*'perhaps'\]|found \['perhaps'\]"),
        (y, y + 1, r"got \[0 1 2\], `y` has \[1 2 3\]|\[0, 1, 2\]; found \[3\]"),
    ],
    ids=["one class", "fewer labels", "several", "text", "numbers"],
)
def test_training_goes_on_with_labels_of_the_same_kind(first, then, words):
    clf = quick(warm_start=True).fit(X, first)
    for train in (clf.partial_fit, clf.fit):
        with pytest.raises(DataError, match=words):
            train(X, then)


def test_classes_of_several_labels_are_their_numbers():
    assert quick().partial_fit(X, SEVERAL, classes=[0, 1, 2]).classes_.tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"\[0, 1, 2\]; found \['a', 'b'\]"):
        quick().partial_fit(X, SEVERAL, classes=["a", "b"])


def test_errors_name_labels_as_they_were_given():
    with pytest.raises(DataError, match=r"got \['no' 'yes'\], `y` has \['no'\]"):
        quick(warm_start=True).fit(X, TEXT).fit(X, np.full(150, "no"))


# --- small and odd batches


def test_batch_normalization_takes_batches_of_one_row():
    clf = quick(regularizers={"batch_norm": 1}, batch_size=149).fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()
    assert np.isfinite(
        quick(regularizers={"batch_norm": 1}).partial_fit(X[:1], y[:1], classes=[0, 1, 2]).coefs_[0]
    ).all()


def test_columns_with_missing_numbers_are_an_error():
    holes = FRAME.assign(age=pd.Series([1, pd.NA, 2] * 50, dtype="Int64"))
    with pytest.raises(ValueError, match="NaN"):
        quick().fit(holes, y)
    with pytest.raises(ValueError, match="NaN"):
        quick().fit(FRAME, y).predict(holes)
