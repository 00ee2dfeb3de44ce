"""A Dataset holds only what a training can use, and its fingerprint changes with everything a training can see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from droplab.data.dataset import Dataset
from droplab.errors import DataError

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 0, 1])
SOUND = Dataset("some", X, Y, X[:2], Y[:2], ("a", "b"))


@pytest.mark.parametrize(
    "change",
    [
        {"train_x": X + 1},
        {"train_y": 1 - Y},
        {"test_x": X[1:3]},
        {"test_y": 1 - Y[:2]},
        {"scale": 0.5},
        {"classes": ("a", "b", "c")},
        {"classes": ("a", "z")},
        {"train_x": X.astype(np.uint8), "test_x": X[:2].astype(np.uint8)},
    ],
)
def test_the_fingerprint_changes_with_what_a_training_sees(change) -> None:
    assert replace(SOUND, **change).fingerprint != SOUND.fingerprint


@pytest.mark.parametrize("change", [{"name": "other"}, {"source": "elsewhere"}, {"train_x": np.asfortranarray(X)}])
def test_the_fingerprint_does_not_change_with_names_or_memory_layout(change) -> None:
    assert replace(SOUND, **change).fingerprint == SOUND.fingerprint


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_x": X[0]}, r"found shape \(3,\)"),
        ({"train_x": X[:0], "train_y": Y[:0]}, r"found shape \(0, 3\)"),
        ({"train_x": X.astype(float)}, "must be uint8 or float32; found float64"),
        ({"train_y": Y.astype(np.int32)}, "must be int64"),
        ({"train_y": Y[:3]}, r"one an example \(4\)"),
        ({"train_y": Y + 1}, "must lie in 0 … 1; found 1 … 2"),
        ({"test_y": Y[:2] - 1}, "test labels must lie in 0 … 1; found -1 … 0"),
        ({"classes": ("a",)}, "at least 2 classes; found 1"),
        ({"test_x": X[:2, :2]}, "the same features; found 3 × float32 and 2 × float32"),
        ({"train_x": np.where(X == 7, np.nan, X).astype(np.float32)}, "found nan in train row 2, column 1"),
        ({"test_x": np.where(X == 1, np.inf, X).astype(np.float32)[:2]}, "found inf in test row 0, column 1"),
    ],
)
def test_contradictory_arrays_are_refused(change, says: str) -> None:
    with pytest.raises(DataError, match=says):
        replace(SOUND, **change)


def test_features_counts_columns() -> None:
    assert SOUND.features == 3


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="must be Unicode text"):
        replace(SOUND, name="caf\udce9")
