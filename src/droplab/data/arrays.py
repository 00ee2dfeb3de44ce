"""Four arrays as users give them → Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.dataset import Dataset, first_not_finite
from droplab.data.mapped import MappedArray, row_chunks
from droplab.errors import DataError

KEYS = ("train_x", "train_y", "test_x", "test_y")


def to_dataset(path: Path, source: str, arrays: Mapping[str, NDArray[Any]], where: Mapping[str, str]) -> Dataset:
    """Make a data set of four arrays.

    Features are (examples, features), or (examples, rows, columns) for images; `uint8` stays and is scaled by 1/255,
    any other number becomes `float32`. Labels are integers, booleans or strings, shape (examples,); the classes are
    their sorted distinct values. Mapped features that need no conversion stay mapped.

    Args:
        path: what the data set is named after.
        source: where the arrays came from, in words.
        arrays: under the names `KEYS`.
        where: how messages call each of them.

    Raises:
        DataError: if an array has the wrong shape or dtype, or a feature is not finite or overflows `float32`.
    """
    train_x, test_x = arrays["train_x"], arrays["test_x"]
    if train_x.shape[1:] != test_x.shape[1:]:
        raise DataError(
            f"{path}: train and test must have the same features; found shapes {train_x.shape} and {test_x.shape}."
        )
    classes, train_y, test_y = labels_to_numbers(
        path, *(_labels(where[key], arrays[key]) for key in ("train_y", "test_y"))
    )
    return Dataset(
        name=name_of(path),
        train_x=flat_features(where["train_x"], train_x),
        train_y=train_y,
        test_x=flat_features(where["test_x"], test_x),
        test_y=test_y,
        classes=classes,
        scale=1 / 255 if train_x.dtype == np.uint8 else 1.0,
        image_shape=(int(train_x.shape[1]), int(train_x.shape[2])) if train_x.ndim == 3 else None,
        source=source,
    )


def name_of(path: Path) -> str:
    """The name of the data set of a file or folder: the path's last part, without `.npz`.

    >>> name_of(Path("some/digits.npz")), name_of(Path("sets/digits-v1.2/"))
    ('digits', 'digits-v1.2')
    """
    name = (path if path.name not in ("", "..") else path.resolve()).name
    return name.removesuffix(".npz") or name or str(path)


def flat_features(where: str, x: NDArray[Any]) -> NDArray[Any]:
    """Features as (examples, features), `uint8` or `float32`; mapped ones that need no conversion stay mapped.

    Args:
        where: how messages call them.
        x: shape (examples, features) or (examples, rows, columns), real numbers.

    Raises:
        DataError: if they are anything else, or one is not finite or overflows `float32`.
    """
    if x.dtype.kind not in "uif":
        raise DataError(f"{where} must hold real numbers; found {x.dtype}. Encode it as numbers first.")
    if x.ndim not in (2, 3) or x.size == 0:
        raise DataError(
            f"{where} must be (examples, features) or (examples, rows, columns), at least one of each; "
            f"found shape {x.shape}. Reshape it."
        )
    if x.dtype not in (np.uint8, np.float32) or not x.flags.aligned:
        x = _as_float32(where, x)
    return x.flattened() if isinstance(x, MappedArray) else x.reshape(len(x), -1)


def _as_float32(where: str, x: NDArray[Any]) -> NDArray[np.float32]:
    """Convert chunk by chunk, so that memory holds little more than the result."""
    narrow = np.empty(x.shape, np.float32)
    for start, rows in row_chunks(x):
        with np.errstate(over="ignore"):
            narrow[start : start + len(rows)] = rows
    if place := first_not_finite(narrow):
        raise DataError(
            f"{where} must be finite as float32; found {x[place]} at {place}. Remove or rescale such values first."
        )
    return narrow


def _labels(where: str, y: NDArray[Any]) -> NDArray[Any]:
    if y.ndim != 1:
        raise DataError(f"{where} must have one label an example, shape (examples,); found shape {y.shape}.")
    if y.dtype.kind == "f":
        raise DataError(f"{where} must be classes; found {y.dtype}, as for a regression. Convert it to integers.")
    if y.dtype.kind not in "biuU":
        raise DataError(f"{where} must be integers, booleans or strings; found {y.dtype}. Convert it first.")
    if y.dtype == np.uint64 and y.size and y.max() > np.iinfo(np.int64).max:
        raise DataError(f"{where} must fit int64; found {y.max()}. Number the classes from 0.")
    return np.asarray(y, dtype=np.int64 if y.dtype.kind in "iu" else None)


def labels_to_numbers(
    path: Path, train: NDArray[Any], test: NDArray[Any]
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Name the distinct labels of both parts and number them 0 … K−1, in sorted order.

    Raises:
        DataError: if they are not of one kind.
    """
    if train.dtype.kind != test.dtype.kind:
        raise DataError(f"{path}: labels must be of one kind; found {train.dtype} and {test.dtype}.")
    values = np.union1d(np.unique(train), np.unique(test))
    numbers = [np.searchsorted(values, part).astype(np.int64, copy=False) for part in (train, test)]
    return tuple(str(value) for value in values), numbers[0], numbers[1]
