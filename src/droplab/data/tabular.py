"""A table with a column of classes, or of numbers, as targets → Dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from droplab.config import ColumnKind, NumericEncoding, Task
from droplab.data.arrays import look_measured, name_of
from droplab.data.cells import TEXT, Spelling, codes_of, group_of, numbers_of
from droplab.data.columns import check_told, decide, is_count
from droplab.data.dataset import Dataset
from droplab.data.held_out import hold_out
from droplab.data.preprocessing import Preprocessing
from droplab.data.splits import train_valid_split
from droplab.data.table_look import look_at_columns, measured
from droplab.data.tables import UNNAMED, Table, listed, read_table
from droplab.data.unseen import Unseen
from droplab.errors import ConfigError, DataError

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,14})(\.0+)?").fullmatch


@dataclass(frozen=True)
class Reading:
    """How a table is read.

    Attributes:
        target: the column of the classes, or of numbers.
        test: a table of test rows, or the share of the rows to test on, each class by the same share; `None` for
            `TEST_SHARE`.
        groups: a column whose values no split parts, as that of a patient; it is no feature.
        columns: what columns are, by name, where it is not to be guessed.
        missing: cells that say that a value is missing, beside those that always do.
        numeric_encoding: what numbers become.
        valid_fraction: the share of the training rows that `Examples.of` will hold out, and that have no part in the
            preprocessing.
        split_seed: of that split.
        preprocessing: what makes the features, instead of what would be fitted.
        task: `classification`, `regression`, or `auto`, which takes a target for a number that has fractions, or whole
            numbers that look measured (`arrays.look_measured`).
    """

    target: str | None = None
    test: str | None = None
    groups: str | None = None
    columns: Mapping[str, ColumnKind] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    numeric_encoding: NumericEncoding | None = None
    valid_fraction: float = 0.0
    split_seed: int = 1
    preprocessing: Preprocessing | None = None
    task: Task = "auto"


def load_tabular(path: Path, reading: Reading, notify: Callable[[str], None]) -> Dataset:
    """Load a data set from a CSV or Parquet file: `table_dataset` of it, where only empty cells are no class or group.

    Args:
        path: of the table.
        reading: how it is read.
        notify: told what is assumed, and what columns were taken for.

    Raises:
        ConfigError, DataError: as `table_dataset`, or if a table is not what it must be.
    """
    names = [name for name in (reading.target, reading.groups) if name]
    missing = reading.preprocessing.missing if reading.preprocessing else reading.missing

    def read(text: str) -> Table:
        return read_table(Path(text), missing, names)

    return table_dataset(path, f"file {path}", read(str(path)), read, reading, notify)


def table_dataset(
    path: Path,
    source: str,
    table: Table,
    read: Callable[[str], Table],
    reading: Reading,
    notify: Callable[[str], None],
) -> Dataset:
    """Make a data set of a table.

    What each column is, is decided on the rows that are trained on (neither those of test nor those of valid), and
    becomes features as `Preprocessing` says. Classes and groups are text as the table has it; another table's are the
    same ones if `codes_of` says so.

    Args:
        path: what the data set is named after.
        source: where the rows came from, in words.
        table: of all rows, or those to train on.
        read: what reads the table that `test` names.
        reading: how they are read.
        notify: told what is assumed, and what columns were taken for.

    Raises:
        ConfigError: if `test` is no share, or `columns` names what is no feature.
        DataError: if a column is not what it must be, a class has too few rows or is not among those of training, or
            groups are in train and test.
    """
    fitted = reading.preprocessing
    target = _column(table, "target", reading.target, "the column of the classes, or of numbers")
    groups = None if reading.groups is None else _column(table, "groups", reading.groups, "a column")
    if groups == target:
        raise DataError(f"{path}: groups and target must be two columns; found {groups!r} for both. Name another.")
    features = table if fitted else _features(table, (target, groups), reading.columns, notify)
    labels = _present(table, target, "target")
    spelling = _spelling(table, target, labels, reading.task)
    classes: tuple[str, ...] = ()
    if spelling is not None:
        targets = strata = _numbers(table, target, labels, spelling)
        if reading.task == "auto":
            notify(f"{path}: {target!r} is taken for a number (regression); --task classification says otherwise")
    else:
        classes = _classes(table, target, labels)
        targets = codes_of(labels, classes).astype(np.int64)
        strata = _named(classes)[targets]
    members = None if groups is None else _members(table, groups)
    try:
        rows = hold_out(str(path), strata, reading.test, notify, members)
    except DataError as error:
        raise DataError(" ".join([str(error), *measured(classes, len(table), target)])) from None
    if rows is None:
        train, held = features, read(str(reading.test))
        _column(held, "target", target, "the column of the classes")
        train_y = targets
        test_y = (
            _known(held, target, classes)
            if spelling is None
            else _numbers(held, target, _present(held, target, "number"), spelling)
        )
        if groups is not None:
            _check_apart(table, held, _column(held, "groups", groups, "a column"))
    else:
        chosen, left = rows
        train, held = features.take(chosen), features.take(left)
        train_y, test_y, members = targets[chosen], targets[left], None if members is None else members[chosen]
    for note in dict.fromkeys((*table.notes, *held.notes)):
        notify(note)
    if fitted is None:
        fitted_on = np.arange(len(train))
        if reading.valid_fraction:
            fitted_on, _ = train_valid_split(
                train_y, test_size=reading.valid_fraction, random_state=reading.split_seed, groups=members
            )
        rows_of_fit = train.take(np.sort(fitted_on))
        fitted = Preprocessing.fit(rows_of_fit, reading.columns, reading.missing, reading.numeric_encoding)
        notify(f"{path}: columns taken for {fitted.summary}; --columns NAME=number|category|ignore says otherwise")
    unseen = Unseen()
    numbers, held_numbers = fitted.read(train), fitted.read(held, unseen)
    for words in unseen.words:
        notify(f"test: {words}")
    return Dataset(
        name=name_of(path),
        train_x=fitted.features_of(numbers, train),
        train_y=train_y,
        test_x=fitted.features_of(held_numbers, held),
        test_y=test_y,
        classes=classes,
        source=source,
        preprocessing=fitted,
        train_groups=members,
        places=(train.rows, held.rows),
        findings=look_at_columns(fitted, numbers, train_y, classes, target),
    )


def _features(
    table: Table, taken: Collection[str | None], told: Mapping[str, ColumnKind], notify: Callable[[str], None]
) -> Table:
    """The table without its classes and groups, and without columns that are no features by themselves.

    Raises:
        ConfigError: if something is told of a class, a group, or a column that is not there.
        DataError: if a column has no name, and is no index.
    """
    check_told(table, told)
    for name in told:
        if name in taken:
            raise ConfigError(f"columns says what features are; found {name!r}, which is none. Leave it out.")
    aside = {name: why for name, why in table.aside.items() if name not in taken and name not in told}
    for name, why in aside.items():
        if why == UNNAMED and not is_count(table.columns[name]):
            raise DataError(f"{table.name}: each column must have a name; found none for {name}. Name it.")
        notify(f"{table.name}: {name} is left out: {why}")
    columns = {name: cells for name, cells in table.columns.items() if name not in taken and name not in aside}
    return replace(table, columns=columns)


def _column(table: Table, option: str, name: str | None, what: str) -> str:
    """The name of a column that the table must have."""
    if name is None:
        raise DataError(f"{table.name}: a table needs {option}, {what}; it has {table.columns_words}. Name one.")
    if name not in table.columns:
        must = f"{table.name}: {option} must be one of the columns {table.columns_words}"
        raise DataError(f"{must}; found {name!r}.{table.hint(name)}")
    return name


def _present(table: Table, name: str, what: str) -> pa.Array:
    """The texts of a column that each row must have."""
    texts = table.texts(name)
    if texts.null_count:
        row = table.rows[int(np.asarray(texts.is_null()).argmax())]
        raise DataError(
            f"{table.name}: each row must have a {what}; found none in row {row} of {name!r}. Fill it in, or leave the "
            "row out."
        )
    return texts


def _spelling(table: Table, target: str, labels: pa.Array, task: Task) -> Spelling | None:
    """How the numbers of a target are spelt; `None` where it has classes.

    Raises:
        DataError: if numbers are asked for, and it has none; if classes are, and it has measured values.
    """
    decided = decide(replace(table, columns={target: labels}, aside={}), {})[target]
    values, fault = numbers_of(labels, decided.spelling)
    is_number = decided.kind == "number" and fault is None
    if task == "regression":
        if not is_number:
            why = f" {decided.fault}" if decided.fault else f"; found {labels[0].as_py()!r}."
            raise DataError(f"{table.name}: {target!r} must hold numbers{why}")
        return decided.spelling
    odd = np.flatnonzero(is_number & (values != np.floor(values)) & ~np.isnan(values))
    if task == "classification" and len(odd):
        raise DataError(
            f"{table.name}: {target!r} must hold classes; found measured values, as for a regression "
            f"({labels[int(odd[0])].as_py()}). Name another column, make classes of the values, or say --task "
            "regression."
        )
    return decided.spelling if task == "auto" and is_number and (len(odd) or look_measured(values)) else None


def _numbers(table: Table, target: str, labels: pa.Array, spelling: Spelling) -> NDArray[np.float64]:
    """The numbers that are the targets of rows."""
    values, fault = numbers_of(labels, spelling)
    if fault is not None or np.isnan(values).any():
        place = fault.row if fault is not None else int(np.isnan(values).argmax())
        raise DataError(
            f"{table.name}: {target!r} must hold a finite number in each row; found {labels[place].as_py()!r} in row "
            f"{table.rows[place]}. Correct it, or leave the row out."
        )
    return values


def _classes(table: Table, target: str, labels: pa.Array) -> tuple[str, ...]:
    """The different classes, in order: whole numbers by their size."""
    texts = pc.unique(labels).to_pylist()
    if len(texts) < 2:
        raise DataError(f"{table.name}: {target!r} must have at least 2 classes; found only {texts[0]!r}. Add rows.")
    return tuple(sorted(texts, key=float) if all(map(_WHOLE, texts)) else sorted(texts))


def _named(classes: Sequence[str]) -> NDArray[Any]:
    """The classes as a split takes them and its messages name them: whole numbers as such."""
    whole = all(map(_WHOLE, classes)) and len({float(text) for text in classes}) == len(classes)
    return np.asarray([int(float(text)) for text in classes] if whole else classes)


def _known(table: Table, target: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """The classes of rows, which must be among those of training."""
    labels = _present(table, target, "class")
    codes = codes_of(labels, tuple(classes))
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        raise DataError(
            f"{table.name}: {target!r} must hold classes of training ({listed(classes)}); found "
            f"{labels[row].as_py()!r} in row {table.rows[row]}. Correct it, or leave such rows out."
        )
    return codes.astype(np.int64)


def _members(table: Table, groups: str) -> NDArray[np.int64]:
    """The group of each row, numbered."""
    coded = pa.array(_names(table, groups), TEXT).dictionary_encode()
    return np.asarray(coded.indices).astype(np.int64)


def _names(table: Table, groups: str) -> list[str]:
    """The group of each row, so spelt that one is not two by accident."""
    return [group_of(text) for text in _present(table, groups, "group").to_pylist()]


def _check_apart(train: Table, held: Table, groups: str) -> None:
    if both := sorted(set(_names(train, groups)) & set(_names(held, groups))):
        raise DataError(
            f"{held.name}: no group may be in train and test; found {len(both)} of {groups!r} in both "
            f"({listed(both)}). Take their rows out of one."
        )
