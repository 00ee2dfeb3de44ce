"""Features and labels in two files, or as `x` and `y` of one npz file: without a test part, of which some is made."""

import numpy as np
import pytest

from droplab.data import idx
from droplab.data.files import dataset_name, load_dataset
from droplab.data.mapped import MappedArray
from droplab.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (40, 3, 2), np.uint8)
Y = np.arange(40) % 4
ODD = np.arange(40)[:, None] == [33, 99]


def load(path, **given):
    return load_dataset(path, notify=lambda _: None, **given)


@pytest.fixture
def pair(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return f"{tmp_path}/x.npy,{tmp_path}/y.npy"


def test_a_pair_is_split_by_class(pair):
    dataset = load(pair, test="0.25")
    assert (dataset.name, dataset.image_shape, dataset.classes) == ("x.npy", (3, 2), ("0", "1", "2", "3"))
    assert dataset_name(pair) == dataset.name
    assert sorted(np.bincount(dataset.test_y)) == [2, 2, 3, 3]
    for x, y, rows in zip(
        (dataset.train_x, dataset.test_x), (dataset.train_y, dataset.test_y), dataset.places, strict=True
    ):
        np.testing.assert_array_equal(x, X.reshape(40, 6)[rows - 1])
        np.testing.assert_array_equal(y, Y[rows - 1])


def test_every_form_of_the_same_arrays_is_the_same_data_set(pair, tmp_path):
    idx.write(tmp_path / "x-ubyte", X)
    idx.write(tmp_path / "y-ubyte", Y.astype(np.uint8))
    np.savez(tmp_path / "small.npz", x=X, y=Y)
    np.savez(tmp_path / "large.npz", X=X, y=Y.astype(float))
    forms = [f"{tmp_path}/x-ubyte,{tmp_path}/y-ubyte", tmp_path / "small.npz", tmp_path / "large.npz"]
    assert {load(form).fingerprint for form in forms} == {load(pair).fingerprint}


def test_the_test_part_may_lie_elsewhere(pair, tmp_path):
    np.savez(tmp_path / "all.npz", x=X, y=Y)
    there, here = load(pair, test=pair), load(tmp_path / "all.npz", test=str(tmp_path / "all.npz"))
    assert there.fingerprint == here.fingerprint
    assert len(there.test_y) == len(there.train_y) == 40
    assert isinstance(there.train_x, MappedArray)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, Y[:-1], "found 40 examples and 39 labels"),
        (X, X, "one label an example"),
        (Y, Y, r"at least one of each; found shape \(40,\)"),
        (X, np.arange(40), "as many classes as examples"),
        (X, Y * 0, "at least 2 classes"),
        (X, np.where(np.arange(40) == 7, 9, Y), "at least 2 members"),
        (X.astype(complex), Y, "real numbers"),
        (X.astype("U3"), Y, "real numbers"),
        (
            np.where(ODD, np.nan, 1.0),
            Y,
            r"finite as float32; found nan at \(33, 0\)",
        ),
        (
            np.where(ODD, np.inf, 1.0).astype("f4"),
            Y,
            "example 34, column 0",
        ),
        (np.full((40, 2), 1e300), Y, "finite as float32"),
        (X[:0], Y[:0], "at least 1|shape"),
        (X, Y.astype(complex), "integers, booleans or strings"),
    ],
)
def test_wrong_arrays_are_one_clear_error(tmp_path, x, y, words):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(DataError, match=words):
        load(f"{tmp_path}/x.npy,{tmp_path}/y.npy")


def test_what_is_named_must_be_two_files(pair, tmp_path):
    with pytest.raises(DataError, match=r"none\.npy: no such file"):
        load(f"{tmp_path}/x.npy,{tmp_path}/none.npy")
    with pytest.raises(DataError, match="written FEATURES,LABELS"):
        load(pair, test=f"{tmp_path}/x.npy")
    np.savez(tmp_path / "odd.npz", a=X)
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(DataError, match=r"x and y; found a\. Add train_x"):
        load(tmp_path / "odd.npz")
    with pytest.raises(DataError, match=r"x and y; found x\. Add"):
        load(tmp_path / "x.npz")


def test_options_that_cannot_act_say_so(pair, tmp_path):
    np.savez(tmp_path / "whole.npz", train_x=X, train_y=Y, test_x=X, test_y=Y)
    for name in (tmp_path / "whole.npz", "digits"):
        with pytest.raises(ConfigError, match="test part of its own"):
            load(name, test="0.5")
    with pytest.raises(ConfigError, match="columns of a table"):
        load(pair, groups="patient")


def test_an_odd_header_is_an_error_and_no_warning(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 2), np.float32))
    content = (tmp_path / "x.npy").read_bytes().replace(b"'<f4'", b"'<\\q'")
    (tmp_path / "x.npy").write_bytes(content)
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1]))
    with pytest.raises(DataError, match=r"x\.npy must begin with an npy header; it cannot be read"):
        load(f"{tmp_path}/x.npy,{tmp_path}/y.npy")
