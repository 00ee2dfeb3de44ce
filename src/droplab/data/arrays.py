"""Arrays as users give them → Dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.config import Task
from droplab.data.dataset import Dataset, first_not_finite
from droplab.data.held_out import hold_out
from droplab.data.mapped import MappedArray, row_chunks
from droplab.errors import DataError

KEYS = ("train_x", "train_y", "test_x", "test_y")

FEW, ROWS_A_CLASS = 20, 50
"""Of whole numbers: more different values than the first, with fewer rows each than the second, look measured."""

_LARGEST_WHOLE = 2.0**53  # beyond it floats leave out whole numbers


@dataclass(frozen=True)
class Labelled:
    """Examples with their labels, as files hold them.

    Attributes:
        x: features, as `to_dataset` takes them.
        y: labels, shape (examples,).
        where: how messages call the two.
        places: how messages call each example, shape (examples,); `None` for its row.
        valid: which of them are the valid split, shape (examples,); `None` where they have none of their own.
        groups: the group of each, which no split parts, shape (examples,); `None` where there are none.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    where: tuple[str, str]
    places: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None
    groups: NDArray[np.int64] | None = None


def held_out_of(
    path: Path,
    source: str,
    examples: Labelled,
    test: str | None,
    read: Callable[[str], Labelled],
    notify: Callable[[str], None],
    task: Task = "auto",
) -> Dataset:
    """Make a data set of examples that have no test part of their own.

    Args:
        path: what the data set is named after.
        source: where they came from, in words.
        examples: all of them, or those to train on.
        test: the path of those to test on, or their share; `None` for `TEST_SHARE`.
        read: what reads that path.
        notify: told what is assumed.
        task: as that of `targets_of`.

    Raises:
        ConfigError: if `test` is no share.
        DataError: as `to_dataset`, or if the examples cannot be split class by class.
    """
    x, y = examples.x, targets_of(examples.where[1], examples.y, task, notify)
    task = task_of(y)
    if len(x) != len(y):
        raise DataError(f"{path}: there must be a label an example; found {len(x)} examples and {len(y)} labels.")
    x = flat_features(examples.where[0], x).reshape(x.shape)  # so that a message names the place in the file
    free = np.arange(len(y)) if examples.valid is None else np.flatnonzero(~examples.valid)
    rows = hold_out(str(path), y[free], test, notify, None if examples.groups is None else examples.groups[free])
    if rows is None:
        other = read(str(test))
        arrays, where = (x, y, other.x, other.y), (*examples.where, *other.where)
        return to_dataset(path, source, arrays, where, (examples.places, other.places), examples.valid, task=task)
    held = free[rows[1]]
    kept = np.ones(len(y), bool)
    kept[held] = False
    train = np.flatnonzero(kept)
    places = np.arange(1, len(y) + 1) if examples.places is None else examples.places
    return to_dataset(
        path,
        source,
        (x[train], y[train], x[held], y[held]),
        (*examples.where, *examples.where),
        (places[train], places[held]),
        None if examples.valid is None else examples.valid[train],
        groups=None if examples.groups is None else examples.groups[train],
        task=task,
    )


def to_dataset(
    path: Path,
    source: str,
    arrays: Sequence[NDArray[Any]],
    where: Sequence[str],
    places: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None),
    valid: NDArray[np.bool_] | None = None,
    groups: NDArray[np.int64] | None = None,
    task: Task = "auto",
    notify: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Make a data set of four arrays.

    Features are (examples, features); of images (examples, rows, columns), or (examples, rows, columns, 3) in colour.
    `uint8` stays and is scaled by 1/255, any other number becomes `float32`. Labels are whole numbers, booleans or
    strings, shape (examples,); the classes are their sorted distinct values. Targets may be numbers, as `task` says.
    Mapped features that need no conversion stay mapped.

    Args:
        path: what the data set is named after.
        source: where the arrays came from, in words.
        arrays: in the order of `KEYS`.
        where: how messages call each of them.
        places: how messages call each training and each test example; `None` for its row.
        valid: which of the training examples are the valid split; `None` where that is not settled.
        groups: of each training example, which no split parts.
        task: as that of `targets_of`.
        notify: told what is assumed.

    Raises:
        DataError: if an array has the wrong shape or dtype, or a feature is not finite or overflows `float32`.
    """
    train_x, train_y, test_x, test_y = arrays
    if train_x.shape[1:] != test_x.shape[1:]:
        raise DataError(
            f"{path}: train and test must have the same features; found shapes {train_x.shape} and {test_x.shape}."
        )
    train_y = targets_of(where[1], train_y, task, notify)
    test_y = targets_of(where[3], test_y, task_of(train_y))
    classes: tuple[str, ...] = ()
    if train_y.dtype.kind != "f":
        classes, train_y, test_y = labels_to_numbers(path, train_y, test_y)
    return Dataset(
        name=name_of(path),
        train_x=flat_features(where[0], train_x),
        train_y=train_y,
        test_x=flat_features(where[2], test_x),
        test_y=test_y,
        classes=classes,
        scale=1 / 255 if train_x.dtype == np.uint8 else 1.0,
        image_shape=tuple(map(int, train_x.shape[1:])) if train_x.ndim > 2 else None,
        source=source,
        places=places,
        valid=valid,
        train_groups=groups,
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
        x: shape (examples, features), (examples, rows, columns) or (examples, rows, columns, 3), real numbers.

    Raises:
        DataError: if they are anything else, or one is not finite or overflows `float32`.
    """
    if x.dtype.kind not in "uif":
        raise DataError(f"{where} must hold real numbers; found {x.dtype}. Encode it as numbers first.")
    if (x.ndim not in (2, 3) and (x.ndim != 4 or x.shape[3] != 3)) or x.size == 0:
        raise DataError(
            f"{where} must be (examples, features), (examples, rows, columns) or (examples, rows, columns, 3), at "
            f"least one of each; found shape {x.shape}. Reshape it."
        )
    if x.dtype not in (np.uint8, np.float32) or not x.flags.aligned:
        x = _as_float32(where, x)
    return x.flattened() if isinstance(x, MappedArray) else x.reshape(len(x), -1)


def _as_float32(where: str, x: NDArray[Any]) -> NDArray[np.float32]:
    """Convert chunk by chunk, so that memory holds little more than the result."""
    narrow = np.empty(x.shape, np.float32)
    for start, rows in row_chunks(x):
        with np.errstate(over="ignore", invalid="ignore"):
            narrow[start : start + len(rows)] = rows
    if place := first_not_finite(narrow):
        raise DataError(
            f"{where} must be finite as float32; found {x[place]} at {place}. Remove or rescale such values first."
        )
    return narrow


def targets_of(
    where: str, y: NDArray[Any], task: Task = "auto", notify: Callable[[str], None] = lambda _: None
) -> NDArray[Any]:
    """Labels as `labels_of` gives them, or numbers as `float64`.

    Args:
        where: how messages call them.
        y: shape (examples,).
        task: `classification` and `regression` say which; `auto` takes floats for numbers that have fractions, or many
            different values (`look_measured`), and anything else for labels.
        notify: told where numbers are assumed.

    Raises:
        DataError: if they are not what they must be.
    """
    if task == "auto":
        task = "classification"
        if y.dtype.kind == "f" and y.ndim == 1 and np.isfinite(y).all() and (_odd(y).any() or look_measured(y)):
            task = "regression"
            notify(f"{where}: taken for numbers (regression); --task classification says otherwise")
    if task == "classification":
        return labels_of(where, y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biuf":
        raise DataError(
            f"{where} must have one number an example, shape (examples,); found {y.dtype} of shape {y.shape}."
        )
    numbers = y.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(f"{where} must be finite; found {numbers[~np.isfinite(numbers)][0]}. Leave such examples out.")
    return numbers


def task_of(y: NDArray[Any]) -> Task:
    """What targets of `targets_of` are for."""
    return "regression" if y.dtype.kind == "f" else "classification"


def look_measured(values: NDArray[Any]) -> bool:
    """Whether whole numbers look like measured values, and not like classes: many, and few examples of each."""
    different = len(np.unique(values))
    return different > FEW and len(values) < ROWS_A_CLASS * different


def _odd(y: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of them are no whole numbers."""
    return np.asarray(~((y == np.floor(y)) & (np.abs(y) <= _LARGEST_WHOLE)))


def labels_of(where: str, y: NDArray[Any]) -> NDArray[Any]:
    """Labels as `int64`, truth values or text; whole numbers may be floats.

    Args:
        where: how messages call them.
        y: shape (examples,).

    Raises:
        DataError: if they are anything else.
    """
    if y.ndim != 1:
        raise DataError(f"{where} must have one label an example, shape (examples,); found shape {y.shape}.")
    if y.dtype.kind == "f":
        odd = y[_odd(y)]
        if len(odd):
            raise DataError(
                f"{where} must be classes; found {y.dtype}, as for a regression ({odd[0]:g}). Name other labels, "
                "make classes of the values, or say --task regression."
            )
        y = y.astype(np.int64)
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
