"""Arrays and DataFrames at hand: the same data set, and the same study, as from a file; what cannot be is said."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import droplab
from droplab.config import StudySettings
from droplab.data.files import load_dataset
from droplab.data.given import Given
from droplab.errors import ConfigError, DataError, DroplabError, StoreError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 3))
Y = np.where(X[:, 0] + 0.3 * RANDOM.normal(size=120) > 0, "yes", "no")
PEOPLE = np.repeat(np.arange(40), 3)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=np.where(X[:, 1] > 0, "x", "?"), person=PEOPLE, y=Y)
FRAME.loc[4, "a"] = np.nan
READ = {"missing": ("?",), "valid_fraction": 0.25, "split_seed": 3}
QUICK = {"widths": (4,), "epochs": 2, "seeds": 2}


def given(data, **settings):
    taken = Given.of(data, settings)
    named = {**READ, **taken.settings} if taken.tables else {"groups": taken.groups}
    named.pop("data", None)
    return load_dataset(taken, **named | {"test": settings.get("test") if len(taken.settings) < 4 else None}, **QUIET)


QUIET = {"notify": lambda _: None}


def same(one, other):
    arrays = ("train_x", "train_y", "test_x", "test_y", "train_groups")
    return one.fingerprint == other.fingerprint and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8])
def test_arrays_are_what_they_are_in_an_npz_file(tmp_path, kind):
    x, y = (100 * X).astype(kind).reshape(120, 3, 1), np.array(Y, dtype=object)
    np.savez(tmp_path / "d.npz", x=x, y=Y)
    assert same(given((x, y)), load_dataset(tmp_path / "d.npz", **QUIET))
    np.savez(tmp_path / "t.npz", train_x=x[:80], train_y=Y[:80], test_x=x[80:], test_y=Y[80:])
    parts = given((x[:80], y[:80], x[80:], pd.Series(y[80:])))
    assert same(parts, load_dataset(tmp_path / "t.npz", **QUIET))
    assert parts.name == "arrays"


@pytest.mark.parametrize("way", ["column", "labels apart", "groups apart", "polars", "test part"])
def test_frames_are_read_as_tables_are(tmp_path, way):
    FRAME.to_csv(tmp_path / "d.csv", index=False)
    FRAME[90:].to_csv(tmp_path / "t.csv", index=False)
    named = {"target": "y", "groups": "person"}
    test = str(tmp_path / "t.csv") if way == "test part" else None
    name, frame = (tmp_path / "d.csv"), FRAME
    if test:
        name, frame = tmp_path / "r.csv", FRAME[:90]
        frame.to_csv(name, index=False)
    file = load_dataset(name, **named, **READ, test=test, **QUIET)
    bare = FRAME.drop(columns="y")
    found = {
        "column": lambda: given(FRAME, **named),
        "labels apart": lambda: given((bare, FRAME.y), groups="person"),
        "groups apart": lambda: given((bare.drop(columns="person"), Y), groups=PEOPLE, target="y"),
        "polars": lambda: given(pl.from_pandas(FRAME).with_columns(pl.col("d").cast(pl.Categorical)), **named),
        "test part": lambda: given(frame, test=FRAME[90:], **named),
    }[way]()
    if way == "groups apart":  # the column is named otherwise, and is no feature anyway
        assert np.array_equal(found.train_groups, file.train_groups)
    assert same(found, file)
    assert file.preprocessing.missing == ("?",)


def test_numbers_as_targets_are_those_of_a_file(tmp_path):
    FRAME.drop(columns=["y", "person", "d"]).to_csv(tmp_path / "n.csv", index=False)
    np.savez(tmp_path / "n.npz", x=X[:, :2], y=X[:, 2])
    assert same(given((X[:, :2], X[:, 2])), load_dataset(tmp_path / "n.npz", **QUIET))
    found = given((FRAME[["a", "b"]], FRAME.c))
    assert same(found, load_dataset(tmp_path / "n.csv", target="c", **READ, **QUIET))
    assert found.is_of_numbers


def test_groups_beside_arrays_are_parted_by_no_split():
    dataset = given((X, Y), groups=[f"p{one}" for one in PEOPLE])
    rows = [{tuple(row) for row in X.astype(np.float32)[3 * one : 3 * one + 3]} for one in range(40)]
    train = {tuple(row) for row in dataset.train_x}
    assert all(len(group & train) in (0, 3) for group in rows)
    assert np.bincount(dataset.train_groups).max() == 3


def test_a_study_of_arrays_is_that_of_their_file_and_says_that_no_command_repeats_it(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a share is the test split
        study = droplab.study(data=(X, Y), name="mine", **QUICK)
        result = study.run(store=tmp_path / "s.db", workers=1)
        again = droplab.study(str(tmp_path / "d.npz"), **QUICK).run(store=tmp_path / "s.db", workers=1)
    assert (result.summary.trained, again.summary.trained, again.summary.reused) == (4, 0, 4)
    assert study.settings.data == "mine (in memory)"
    assert result.dataset.name == "mine"
    assert "# no command line repeats this: its data were given in Python" in result.markdown()
    assert len(study.recall(store=tmp_path / "s.db").records) == 4
    assert len(droplab.Study(study.settings).recall(store=tmp_path / "s.db").records) == 4
    with pytest.raises(StoreError):
        droplab.study(data=(-X, Y), name="mine", **QUICK).recall(store=tmp_path / "s.db")
    with pytest.raises(ConfigError, match="were arrays or a DataFrame in Python, and are in no file"):
        droplab.Study(study.settings).run(store=tmp_path / "s.db")


def test_a_preset_takes_them_too():
    study = droplab.Study.preset("mnist-depth", data=FRAME, target="y", seeds=1)
    assert (study.settings.data, study.settings.target) == ("frame (in memory)", "y")
    assert StudySettings.parse(study.settings.model_dump(), "x") == study.settings


BAD = {
    "y must have one value an example": (X, Y[:-1]),
    "X must be finite as float32; found nan": (np.where(X > 1, np.nan, X), Y),
    "row 3": (X.astype(np.float32), np.array([1.0, 0, np.nan] * 40)),
    "X must be .examples, features.": (X.reshape(3, 2, 2, 3, 10), Y[:3]),
    "at least 2 classes; found only no": (X, np.full(120, "no")),
    "X must be one array of numbers": (FRAME.to_numpy(), Y),
    "y must hold values of one type; found int and str": (X, np.array([1, "a"] * 60, dtype=object)),
    "must have the same features": (X, Y, X[:, :2], Y),
    "y must not have the name of a column": (FRAME, FRAME.y),
    "values of one type in each": (FRAME.assign(e=np.array([1, "a"] * 60, dtype=object)), Y),
    "target must be one of the columns": FRAME.drop(columns="y"),
    "X_test must be a DataFrame, as X is": (FRAME.drop(columns="y"), Y, X, Y),
}


@pytest.mark.parametrize("words", BAD)
def test_what_cannot_be_is_said(words):
    with pytest.raises(DataError, match=words):
        given(BAD[words])


@pytest.mark.parametrize(
    ("words", "data", "settings"),
    [
        ("or a DataFrame with target; found tuple of 3", (X, Y, X), {}),
        ("found ndarray", X, {}),
        ("can name columns of a DataFrame alone", (X, Y), {"target": "y"}),
        ("must be a column of both", (X, Y, X, Y), {"groups": PEOPLE}),
        ("missing can act on columns of a table", (X, Y), {"missing": ("?",)}),
    ],
)
def test_settings_that_cannot_act_are_refused(words, data, settings):
    with pytest.raises(DroplabError, match=words):
        droplab.study(data=data, **settings, **QUICK).foretell()
