"""A table with a column of classes → Dataset."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.arrays import labels_to_numbers, name_of
from droplab.data.dataset import Dataset
from droplab.data.preprocessing import Preprocessing
from droplab.data.splits import train_valid_split
from droplab.data.tables import listed, read_table
from droplab.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

TEST_SHARE = 0.2
"""Share of the rows that are tested on where nothing else is asked for."""

_TEST_SPLIT_SEED = 0  # a study's split_seed varies train and valid; what it is tested on stays


def load_tabular(path: Path, target: str | None, test: str | None, notify: Callable[[str], None]) -> Dataset:
    """Load a data set from a CSV or Parquet file.

    Columns become features as `Preprocessing` says, fitted on the training rows: all that are not test rows.

    Args:
        path: of the table.
        target: the column of the classes.
        test: a table of test rows, or the share of the rows to test on, each class by the same share; `None` for
            `TEST_SHARE`.
        notify: told what is assumed and left out.

    Raises:
        ConfigError: if `test` is no share.
        DataError: if the table is not what it must be, or a class has too few rows.
    """
    frame = read_table(path)
    labels = _labels(path, frame, target)
    share = _share(test)
    if share is None:
        other = Path(str(test))
        test_frame = read_table(other)
        test_labels = _labels(other, test_frame, target)
    else:
        if test is None:
            notify(f"{path}: {share:.0%} of the rows are the test split, by class; --test says otherwise")
        train_rows, test_rows = train_valid_split(labels, test_size=share, random_state=_TEST_SPLIT_SEED)
        frame, test_frame = frame.iloc[train_rows], frame.iloc[test_rows]
        labels, test_labels = labels[train_rows], labels[test_rows]
    features = frame.drop(columns=[target])
    preprocessing = Preprocessing.fit(features)
    used = {column.name for column in preprocessing.columns}
    if constant := [str(name) for name in features.columns if str(name) not in used]:
        notify(f"{path}: left out, since they never change in the training rows: {listed(constant)}")
    classes, train_y, test_y = labels_to_numbers(path, labels, test_labels)
    return Dataset(
        name=name_of(path),
        train_x=preprocessing.transform(features),
        train_y=train_y,
        test_x=preprocessing.transform(test_frame),
        test_y=test_y,
        classes=classes,
        source=f"file {path}",
        preprocessing=preprocessing,
    )


def _share(test: str | None) -> float | None:
    """The share that `test` asks for; `None` where it is a path.

    Raises:
        ConfigError: if it is a number that is no share.
    """
    if test is None:
        return TEST_SHARE
    try:
        share = float(test)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise ConfigError(f"test must be a path, or a share of the rows between 0 and 1; found {test}.")
    return share


def _labels(path: Path, frame: pd.DataFrame, target: str | None) -> NDArray[Any]:
    """The column of the classes, as whole numbers, truth values or text."""
    names = [str(name) for name in frame.columns]
    if target is None:
        raise DataError(f"{path}: a table needs target, the column of the classes; it has {listed(names)}. Name one.")
    if target not in names:
        near = difflib.get_close_matches(target, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{path}: target must be one of the columns {listed(names)}; found {target!r}.{hint}")
    column = frame[target]
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise DataError(f"{path}: each row must have a class; found none in row {row + 1} of {target!r}. Leave it out.")
    values = column.to_numpy()
    if values.dtype.kind == "f":
        if (values != np.floor(values)).any():
            odd = values[values != np.floor(values)][0]
            raise DataError(
                f"{path}: {target!r} must be classes; found {odd:g}, as for a regression. Name another column, or make "
                "classes of the values."
            )
        values = values.astype(np.int64)
    return values if values.dtype.kind in "biu" else np.array([str(value) for value in values])
