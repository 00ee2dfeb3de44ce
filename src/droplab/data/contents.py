"""What a data file or folder holds: arrays, ranges, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from droplab.config import ColumnKind
from droplab.data import idx, npy
from droplab.data.arrays import KEYS
from droplab.data.catalog import CATALOG
from droplab.data.cells import numbers_of
from droplab.data.columns import Decision, decide
from droplab.data.disk import is_folder, open_regular
from droplab.data.folder import data_files
from droplab.data.image_folders import holds_images
from droplab.data.npz import FEATURES, open_npz
from droplab.data.pairs import is_pair, pair_of
from droplab.data.tables import Table, is_table, read_table
from droplab.errors import ConfigError

_ZIP_MAGIC = b"PK"
_MOST_TOLD = 20  # distinct values of a table's column that are counted one by one
_MOST_COUNTED = 1_000  # an integer array with more distinct values holds no classes


@dataclass(frozen=True)
class ArrayInfo:
    """What one array of a data file holds.

    Attributes:
        name: its key in an npz, the name of the npy or IDX file, or that of a table's column.
        dtype: as stored; of a column what it is taken for, and how many values are missing.
        shape: as stored.
        low: least value; `None` where the array is empty or holds no real numbers.
        high: greatest value, likewise.
        counts: examples of each class, if the array looks like labels (one integer or string an example, or a column
            with few values).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float | None
    high: float | None
    counts: dict[str, int]


@dataclass(frozen=True)
class FileInfo:
    """What a data file holds.

    Attributes:
        kind: in words.
        arrays: what is in it; of a folder of images nothing, since each is an array.
        whole: whether it is a data set without being told more (of a table, the column of the classes).
        findings: of a table, why columns can be no features, a sentence each.
    """

    kind: str
    arrays: tuple[ArrayInfo, ...]
    whole: bool
    findings: tuple[str, ...] = ()


def inspect(
    name_or_path: str | Path, missing: Sequence[str] = (), told: Mapping[str, ColumnKind] | None = None
) -> FileInfo:
    """Say what is in a table, an IDX (plain or gzip), npy or npz file, two of them, a folder of such, or the catalog.

    Args:
        name_or_path: of it.
        missing: of a table, cells that say that a value is missing.
        told: of a table, what columns are by their names, where it is not to be guessed.

    Raises:
        ConfigError: if something is told of columns, and it is no table.
        DataError: if it is none of these, or damaged; if a folder holds no file of the names a data set has.
    """
    text, path = str(name_or_path), Path(name_or_path)
    if (missing or told) and (text in CATALOG or is_folder(path) or not is_table(path)):
        raise ConfigError(f"missing and columns can act on a table alone; found them with {text}. Leave them out.")
    if text in CATALOG:
        return FileInfo(CATALOG[text].title, (), whole=True)
    if is_pair(text):
        return FileInfo("features and labels", tuple(_file(file).arrays[0] for file in pair_of(text)), whole=True)
    if is_folder(path) and holds_images(path):
        return FileInfo("folder of images by class", (), whole=True)
    if is_folder(path):
        files = [file for kind in data_files(path) for file in kind.values()]
        arrays = tuple(array for file in files for array in _file(file).arrays)
        return FileInfo("folder", arrays, whole=len(files) == len(KEYS))
    return _table(path, missing, told or {}) if is_table(path) else _file(path)


def _table(path: Path, missing: Sequence[str], told: Mapping[str, ColumnKind]) -> FileInfo:
    """Every column as it would be taken if it were a feature and all rows were trained on."""
    table = read_table(path, missing)
    decided = decide(table, told)
    columns = tuple(_column(name, table, decided.get(name)) for name in table.columns)
    faults = [f"column {name!r} {one.fault}" for name, one in decided.items() if one.fault]
    for name in (name for name, one in decided.items() if one.kind == "number"):
        if fault := numbers_of(table.columns[name], decided[name].spelling)[1]:
            faults.append(f"column {name!r} must hold numbers; found {fault.text!r} in row {table.rows[fault.row]}")
    return FileInfo("table", columns, whole=False, findings=(*table.notes, *faults))


def _column(name: str, table: Table, decision: Decision | None) -> ArrayInfo:
    cells = table.columns[name]
    if decision is None:
        return ArrayInfo(name, f"left out: {table.aside[name]}", (len(cells),), None, None, {})
    kind = f"{decision.kind} ({decision.spelling.words})" if decision.spelling.words else decision.kind
    if decision.kind == "unreadable":
        return ArrayInfo(name, kind, (len(cells),), None, None, {})
    values, _ = numbers_of(cells, decision.spelling)
    texts = table.texts(name)
    gaps = int(np.isnan(values).sum()) if decision.kind == "number" else texts.null_count
    real = decision.kind == "number" and not decision.spelling.truth and gaps < len(cells)
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if real else (None, None)
    counted = pc.value_counts(texts.drop_null()).to_pylist()
    counts = {one["values"]: one["counts"] for one in sorted(counted, key=lambda one: -one["counts"])}
    told = f"{kind}, {gaps} missing" if gaps else kind
    return ArrayInfo(name, told, (len(cells),), low, high, counts if len(counts) <= _MOST_TOLD else {})


def _file(path: Path) -> FileInfo:
    with open_regular(path) as handle:
        head = handle.read(len(npy.MAGIC))
    if head.startswith(_ZIP_MAGIC):
        with open_npz(path) as members:
            names = set(members.names)
            whole = set(KEYS) <= names or ("y" in names and bool(names & set(FEATURES)))
            return FileInfo("npz", tuple(_info(name, members.read(name)) for name in members.names), whole)
    if head == npy.MAGIC:
        return FileInfo("npy", (_info(path.name, npy.open_mapped(path)),), whole=False)
    kind = "IDX, gzip" if head.startswith(idx.GZIP_MAGIC) else "IDX"
    return FileInfo(kind, (_info(path.name, idx.open_mapped(path)),), whole=False)


def _info(name: str, array: NDArray[Any]) -> ArrayInfo:
    real = array.size and array.dtype.kind in "biuf"
    counts: dict[str, int] = {}
    if array.ndim == 1 and array.dtype.kind in "biuU":
        values, members = np.unique(array, return_counts=True)
        if len(values) <= _MOST_COUNTED:
            counts = {str(value): int(count) for value, count in zip(values, members, strict=True)}
    low, high = (float(array.min()), float(array.max())) if real else (None, None)
    return ArrayInfo(name, str(array.dtype.newbyteorder("=")), array.shape, low, high, counts)
