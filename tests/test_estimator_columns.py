"""Estimators on tables with categories and gaps, and on encoded numbers: through the preprocessing of `droplab fit`."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from droplab import DropoutMLPClassifier
from droplab.data.preprocessing import Preprocessing
from droplab.errors import ConfigError, DataError
from test_tabular import FRAME

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = FRAME.drop(columns="class").assign(ward=pd.Categorical(np.arange(len(FRAME)) % 3)), FRAME["class"]
NUMBERS = X[["age", "stamp"]]


def quick(**given):
    return DropoutMLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0} | given)


@pytest.mark.parametrize("encoding", [None, "piecewise_linear"])
def test_a_table_goes_through_the_preprocessing_of_fit(encoding):
    made = Preprocessing.fit(X, {"ward": "category"}, numeric_encoding=encoding)
    clf, plain = quick(numeric_encoding=encoding).fit(X, y), quick().fit(made.transform(X), y)
    assert clf.preprocessing_ == made
    assert (clf.n_features_in_, list(clf.feature_names_in_)) == (5, list(X.columns))
    new = X[:9].assign(town=["Rome", *X.town[1:9]])[[*X.columns[::-1]]].assign(other="x")
    with pytest.warns(UserWarning, match=r"1 of 9 rows have a category that training lacks.*'Rome'"):
        said = clf.predict_proba(new)
    np.testing.assert_array_equal(said, plain.predict_proba(made.transform(new)))
    for frame in (pl.from_pandas(X), pa.Table.from_pandas(X)):
        np.testing.assert_array_equal(quick(numeric_encoding=encoding).fit(frame, y).predict(frame), clf.predict(X))
    with pytest.raises(ValueError, match=r"0 sample"):
        clf.predict(X[:0])
    with pytest.raises(DataError, match=r"must have all 5 columns.*found no town"):
        clf.predict(X.drop(columns="town"))


def test_numbers_alone_are_encoded_by_name_or_by_place():
    """An array has gaps as NaN, and later frames are taken as scikit-learn takes them: by their places."""
    given = {"numeric_encoding": "piecewise_linear"}
    by_name, by_place = (quick(**given).fit(one, y) for one in (NUMBERS, NUMBERS.to_numpy()))
    assert by_place.coefs_[0].shape[0] == by_name.preprocessing_.features == 16 + 1 + 16
    said = by_name.predict_proba(NUMBERS[["stamp", "age"]])
    np.testing.assert_array_equal(by_place.predict_proba(NUMBERS.to_numpy()), said)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        np.testing.assert_array_equal(by_place.predict_proba(NUMBERS), said)
    assert quick().fit(NUMBERS[["stamp"]] / 1e9, y).preprocessing_ is None


def test_training_goes_on_with_the_preprocessing_that_it_began_with():
    clf = quick(numeric_encoding="piecewise_linear", warm_start=True)
    first = clf.partial_fit(X[:30], y[:30], classes=np.unique(y)).preprocessing_
    assert clf.partial_fit(X[30:], y[30:]).preprocessing_ == clf.fit(X, y).preprocessing_ == first
    with pytest.raises(ConfigError, match="same numeric_encoding only"):
        clf.set_params(numeric_encoding=None).fit(X, y)


def test_what_cannot_be_encoded_is_an_error():
    with pytest.raises(TypeError, match="dense data is required"):
        quick(numeric_encoding="piecewise_linear").fit(sparse.csr_array(np.eye(60)), y)
    with pytest.raises(ConfigError, match="numeric_encoding"):
        quick(numeric_encoding="splines").fit(NUMBERS, y)


def test_the_defaults_for_tables_learn_thresholds_that_the_plain_ones_miss():
    """A striped table with gaps: what is said of new rows, and that its schedule's end is no want of convergence."""
    random = np.random.default_rng(0)
    table, new = (pd.DataFrame(random.random((rows, 3)), columns=["a", "b", "c"]) for rows in (900, 500))
    for rows in (table, new):
        rows["town"] = random.choice(["Ulm", "Bern"], len(rows))
    labels, truth = (((6 * t["a"]) // 1 + (t["town"] == "Ulm")) % 2 for t in (table, new))
    clf = DropoutMLPClassifier.tabular(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = clf.fit(table.mask(random.random(table.shape) < 0.01), labels).score(new, truth)
    plain = make_pipeline(StandardScaler(), DropoutMLPClassifier(random_state=0))
    dummies = [one.assign(town=one["town"] == "Ulm") for one in (table, new)]
    assert score > 0.9 > plain.fit(dummies[0], labels).score(dummies[1], truth) + 0.1
    assert len(clf.networks_) == 4
    changed = DropoutMLPClassifier.tabular(n_seeds=1).get_params()
    assert changed | {"n_seeds": 4, "random_state": 0} == clf.get_params()
