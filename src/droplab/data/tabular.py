"""A table with a column of classes → Dataset."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.arrays import labels_of, labels_to_numbers, name_of
from droplab.data.dataset import Dataset
from droplab.data.held_out import hold_out
from droplab.data.preprocessing import Preprocessing, listed
from droplab.data.splits import train_valid_split
from droplab.data.tables import read_table
from droplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def load_tabular(
    path: Path,
    target: str | None,
    test: str | None,
    groups: str | None,
    valid: tuple[float, int],
    preprocessing: Preprocessing | None,
    notify: Callable[[str], None],
) -> Dataset:
    """Load a data set from a CSV or Parquet file.

    Columns become features as `Preprocessing` says, fitted on the rows that are trained on: neither those of test nor
    those of valid.

    Args:
        path: of the table.
        target: the column of the classes.
        test: a table of test rows, or the share of the rows to test on, each class by the same share; `None` for
            `TEST_SHARE`.
        groups: a column whose values no split parts, as that of a patient; it is no feature.
        valid: the share of the training rows that `Examples.of` will hold out, and the seed of that split.
        preprocessing: what makes the features, instead of what would be fitted.
        notify: told what is assumed.

    Raises:
        ConfigError: if `test` is no share.
        DataError: if the table is not what it must be, a class has too few rows, or groups are in train and test.
    """
    frame = read_table(path)
    target = _column(path, frame, "target", target, "the column of the classes")
    labels, members = _labels(path, frame, target), None
    if groups is not None:
        members = _groups(path, frame, _column(path, frame, "groups", groups, "a column"), target)
    places: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None)
    rows = hold_out(str(path), labels, test, notify, members)
    if rows is None:
        other = Path(str(test))
        train, held = frame, read_table(other)
        _column(other, held, "target", target, "the column of the classes")
        test_labels = _labels(other, held, target)
        if groups is not None:
            _check_apart(frame[groups], held[_column(other, held, "groups", groups, "a column")], other)
    else:
        chosen, left = rows
        train, held, places = frame.iloc[chosen], frame.iloc[left], (chosen + 1, left + 1)
        labels, test_labels, members = labels[chosen], labels[left], None if members is None else members[chosen]
    features = train.drop(columns=[name for name in (target, groups) if name])
    classes, train_y, test_y = labels_to_numbers(path, labels, test_labels)
    if preprocessing is None:
        (share, seed), fitted_on = valid, np.arange(len(features))
        if share:
            fitted_on, _ = train_valid_split(train_y, test_size=share, random_state=seed, groups=members)
        preprocessing = Preprocessing.fit(features.iloc[np.sort(fitted_on)])
    return Dataset(
        name=name_of(path),
        train_x=preprocessing.transform(features),
        train_y=train_y,
        test_x=preprocessing.transform(held),
        test_y=test_y,
        classes=classes,
        source=f"file {path}",
        preprocessing=preprocessing,
        train_groups=members,
        places=places,
    )


def _column(path: Path, frame: pd.DataFrame, option: str, name: str | None, what: str) -> str:
    """The name of a column that the table must have."""
    names = [str(column) for column in frame.columns]
    if name is None:
        raise DataError(f"{path}: a table needs {option}, {what}; it has {listed(names)}. Name one.")
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{path}: {option} must be one of the columns {listed(names)}; found {name!r}.{hint}")
    return name


def _labels(path: Path, frame: pd.DataFrame, target: str) -> NDArray[Any]:
    """The column of the classes, as whole numbers, truth values or text."""
    column = frame[target]
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise DataError(f"{path}: each row must have a class; found none in row {row + 1} of {target!r}. Leave it out.")
    values = column.to_numpy()
    if values.dtype.kind not in "biuf":
        values = np.array([str(value) for value in values])
    return labels_of(f"{path}: {target!r}", values)


def _groups(path: Path, frame: pd.DataFrame, groups: str, target: str) -> NDArray[np.int64]:
    """The group of each row, numbered."""
    import pandas as pd

    column = frame[groups]
    if groups == target:
        raise DataError(f"{path}: groups and target must be two columns; found {groups!r} for both. Name another.")
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise DataError(f"{path}: each row must have a group; found none in row {row + 1} of {groups!r}. Fill it in.")
    return pd.factorize(column)[0].astype(np.int64)


def _check_apart(train: pd.Series[Any], held: pd.Series[Any], test: Path) -> None:
    if both := sorted({str(value) for value in train} & {str(value) for value in held}):
        raise DataError(
            f"{test}: no group may be in train and test; found {len(both)} of {train.name!r} in both ({listed(both)}). "
            "Take their rows out of one."
        )
