"""Arrays and DataFrames that are at hand in Python → Dataset, as the same data from a file would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.arrays import Labelled, held_out_of
from droplab.data.dataset import Dataset
from droplab.data.tables import Table
from droplab.data.tabular import Reading, table_dataset
from droplab.errors import ConfigError, DataError

IN_MEMORY = " (in memory)"
"""How the names of such data end in settings: no command can read them again."""

_PARTS = (("X", "y"), ("X_test", "y_test"))
_TARGET, _GROUPS = "target", "groups"  # the columns that labels and groups without a name become


@dataclass(frozen=True, eq=False)
class Given:
    """Examples that are at hand in Python.

    Attributes:
        name: of the data.
        arrays: all examples, or those to train on and those to test on; empty where they are tables.
        tables: likewise.
        target: of tables, the column of the labels.
        groups: of tables, the column of the groups; of arrays, what their groups are called; `None` without any.
    """

    name: str
    arrays: tuple[Labelled, ...] = ()
    tables: tuple[Table, ...] = ()
    target: str | None = None
    groups: str | None = None

    @classmethod
    def of(cls, data: Any, settings: Mapping[str, Any]) -> Given:
        """Take up examples.

        Args:
            data: (X, y) or (X, y, X_test, y_test), X an array as `arrays.to_dataset` takes it or a DataFrame (pandas,
                polars, Arrow), y a label an example; or a DataFrame alone.
            settings: what a study is asked for. `target` names the column of the labels in a DataFrame; `test` may be
                another DataFrame; `groups` an array, shape (examples,), or a column of a DataFrame; `name` is also that
                of the data, which are else called `arrays` or `frame`.

        Raises:
            ConfigError: if it is none of these, or a setting cannot act.
            DataError: if lengths differ, labels or groups are missing or of several types, or columns share a name.
        """
        target, groups, test, name = (settings.get(one) for one in ("target", "groups", "test", "name"))
        if _is_frame(data):
            parts = [(data, None), *([(test, None)] if _is_frame(test) else [])]
        elif isinstance(data, tuple | list) and len(data) in (2, 4):
            parts = [(data[place], data[place + 1]) for place in range(0, len(data), 2)]
        else:
            raise ConfigError(
                "data must be a name, a path, (X, y), (X, y, X_test, y_test) or a DataFrame with target; found "
                f"{type(data).__name__}{f' of {len(data)}' if isinstance(data, tuple | list) else ''}."
            )
        told = groups is None or isinstance(groups, str)
        if len(parts) > 1 and not told:
            raise ConfigError(
                "groups beside examples to test on must be a column of both, as no group may be in both; found an "
                "array. Make it a column, or leave out the examples to test on."
            )
        if _is_frame(parts[0][0]):
            target = target or str(getattr(parts[0][1], "name", None) or _TARGET)
            tables = [_table(*part, target, where) for part, where in zip(parts, _PARTS, strict=False)]
            if not told:
                column = str(getattr(groups, "name", None) or _GROUPS)
                tables[0], groups = _joined(tables[0], column, groups, _GROUPS), column
            return cls(name or "frame", tables=tuple(tables), target=target, groups=groups)
        if target is not None or isinstance(groups, str):
            raise ConfigError("target and groups can name columns of a DataFrame alone; found an array. Give arrays.")
        arrays = [_labelled(*part, where) for part, where in zip(parts, _PARTS, strict=False)]
        if groups is not None:
            members = np.unique(_values(_GROUPS, groups, len(arrays[0].x)), return_inverse=True)[1]
            arrays[0], groups = replace(arrays[0], groups=members.astype(np.int64)), _GROUPS
        return cls(name or "arrays", arrays=tuple(arrays), groups=groups)

    @property
    def settings(self) -> dict[str, Any]:
        """What a study's settings say in the place of them."""
        told = {"data": f"{self.name}{IN_MEMORY}", "target": self.target, "groups": self.groups}
        return told | ({"test": None} if len(self.arrays or self.tables) > 1 else {})


def load_given(given: Given, reading: Reading, notify: Callable[[str], None]) -> Dataset:
    """Make a data set of them.

    Args:
        given: the examples.
        reading: how tables are read; of arrays, `test` alone acts.
        notify: told what is assumed, and what columns were taken for.

    Raises:
        ConfigError, DataError: as `arrays.held_out_of` and `tabular.table_dataset`.
    """
    path, arrays = Path(given.name), given.arrays
    test = reading.test if len(arrays or given.tables) == 1 else _PARTS[1][0]
    if arrays:
        return held_out_of(path, "arrays in Python", arrays[0], test, lambda _: arrays[-1], notify, reading.task)
    missing = reading.preprocessing.missing if reading.preprocessing else reading.missing
    tables = [one.marked(missing, (given.target, given.groups)) for one in given.tables]
    reading = replace(reading, test=test, target=given.target, groups=given.groups)
    return table_dataset(path, "a DataFrame in Python", tables[0], lambda _: tables[-1], reading, notify)


def _is_frame(one: Any) -> bool:
    return hasattr(one, "columns") and hasattr(one, "shape")


def _labelled(x: Any, y: Any, where: tuple[str, str]) -> Labelled:
    features = np.asarray(x)
    if features.dtype.kind == "O":
        raise DataError(
            f"{where[0]} must be one array of numbers; found an array of objects, as of several types. Give columns of "
            "several types as a DataFrame."
        )
    return Labelled(features, _values(where[1], y, len(features) if features.ndim else 0), where)


def _table(x: Any, y: Any, target: str, where: tuple[str, str]) -> Table:
    """A DataFrame as a table, the labels, which may be a part of it, among its columns."""
    if not _is_frame(x):
        raise DataError(f"{where[0]} must be a DataFrame, as X is; found {type(x).__name__}. Give both alike.")
    table = replace(Table.of(x), name=where[0])
    return table if y is None else _joined(table, target, y, where[1])


def _joined(table: Table, column: str, values: Any, where: str) -> Table:
    """A table with one more column."""
    if column in table.columns:
        raise DataError(
            f"{table.name}: {where} must not have the name of a column; found {column!r} for both. Leave the column "
            f"out, or rename {where}."
        )
    cells = Table.of({column: _values(where, values, len(table))}).columns[column]
    return replace(table, columns={**table.columns, column: cells})


def _values(where: str, values: Any, examples: int) -> NDArray[Any]:
    """Labels or groups: one an example, none missing, all of one type.

    Raises:
        DataError: if they are not.
    """
    found = np.asarray(values)
    if found.ndim != 1 or len(found) != examples:
        raise DataError(f"{where} must have one value an example, shape ({examples},); found shape {found.shape}.")
    if found.dtype.kind not in "Of":
        return found
    import pandas as pd  # half a second to import

    if (lacking := np.asarray(pd.isna(found))).any():
        raise DataError(f"{where}: each example must have one; found none in row {lacking.argmax() + 1}. Fill it in.")
    kinds = sorted({type(one).__name__ for one in found.tolist()})
    if len(kinds) > 1:
        raise DataError(f"{where} must hold values of one type; found {' and '.join(kinds)}. Convert them, as by str.")
    return np.array(found.tolist())
