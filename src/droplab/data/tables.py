"""Tables as files hold them: CSV or Parquet → named columns of cells, whole or a piece at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from droplab.data import disk
from droplab.data.cells import TEXT, canonical, holds_one, is_text, texts_of
from droplab.errors import DataError, did_you_mean, reading

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq")
"""How the names of tables end."""

MOST_COLUMNS = 10_000
"""A table with more is one of numbers, for which npz and npy are meant."""

UNNAMED = "it has no name, and counts rows or is empty"
"""Why a column without a name is no feature, if that is so."""

PARQUET_MAGIC = b"PAR1"
ROWS_AT_ONCE = 16_384
"""Most rows of a piece."""

_PIECE = 64 << 20  # bytes of cells that are decoded at once, or little more
_NUMBER = 16  # bytes of a number, at most
_ONCE = {"PLAIN", "RLE", "BIT_PACKED", "DELTA_LENGTH_BYTE_ARRAY"}  # encodings that have each text as often as it is
_MOST_LISTED = 50_000  # parts of a Parquet file's description: columns, groups of rows
_NAMED = 10  # columns that a message names


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a table: columns of cells, each found by its name.

    Attributes:
        name: how messages call its file.
        columns: the cells of each, shape (rows,): text where the file has text, else of the file's type; null where
            there is none.
        rows: the number of each row in its file, from 1 for the first below the names, shape (rows,).
        aside: columns that are no features unless they are asked for, and why: a pandas index, one without a name.
        separator: what parts the cells of a text file; empty elsewhere.
        notes: what was assumed when it was read, a sentence each.
    """

    name: str
    columns: Mapping[str, pa.Array]
    rows: NDArray[np.int64]
    aside: Mapping[str, str] = field(default_factory=dict)
    separator: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Table | pd.DataFrame | Any) -> Table:
        """Of a DataFrame (pandas, whose index is no column, polars, Arrow) or of arrays by name; a table as it is."""
        if isinstance(rows, Table):
            return rows
        try:
            pandas = hasattr(rows, "iloc")
            made = pa.Table.from_pandas(rows.rename(columns=str), preserve_index=False) if pandas else pa.table(rows)
        except (pa.ArrowException, TypeError, ValueError):
            raise DataError(
                "a DataFrame must have a name for each column, and values of one type in each: numbers, texts, truth "
                "values; found others. Convert them, as by astype(str)."
            ) from None
        columns = {name: _cells(made.column(name)) for name in made.column_names}
        return cls("the table", columns, np.arange(1, made.num_rows + 1))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.int64]) -> Table:
        """Some of the rows, by their places here, from 0."""
        picked = pa.array(places)
        columns = {name: cells.take(picked) for name, cells in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[places])

    def marked(self, missing: Collection[str], written: Collection[str | None]) -> Table:
        """The table with nothing in cells that say that a value is missing, as `read_table` would have it."""
        found = {key: _marked(cells, () if key in written else missing) for key, cells in self.columns.items()}
        return replace(self, columns=found)

    def texts(self, column: str) -> pa.Array:
        """The cells of a column as text, null where there is none, shape (rows,).

        Raises:
            DataError: if cells hold several values each, or bytes that are no text.
        """
        try:
            return texts_of(self.columns[column])
        except pa.ArrowException:
            raise DataError(
                f"{self.name}: column {column!r} must hold one text or number a row; found "
                f"{self.columns[column].type}. Convert it, or leave the column out."
            ) from None

    def hint(self, column: str) -> str:
        """The name that was meant where there is no such column, if one is near."""
        return did_you_mean(column, self.columns)

    @property
    def columns_words(self) -> str:
        """Its columns, and whether they may have been meant to be several."""
        alone = ", no separator (, ; | or tab) was found" if len(self.columns) == 1 and self.separator else ""
        return listed(list(self.columns)) + alone


def listed(names: Sequence[str]) -> str:
    """The names of columns, the first of them if they are many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def is_table(path: Path) -> bool:
    """Whether a path's name is that of a table."""
    return path.name.lower().endswith(SUFFIXES)


def read_table(path: Path, missing: Collection[str] = (), written: Collection[str] = ()) -> Table:
    """Read a CSV file (UTF-8, perhaps gzip; `,`, `;`, `|` or tab between, names of columns first) or a Parquet file.

    Args:
        path: of the file.
        missing: cells that say that a value is missing, beside empty ones and `cells.MISSING` without quotes.
        written: columns of which only empty cells are missing, as of classes.

    Raises:
        DataError: if it is no such file, is damaged, has no row, a row of another length, columns without a name of
            their own, or more than `MOST_COLUMNS`.
    """
    with disk.open_regular(path) as handle, reading(path, "a sound table"):
        size = path.stat().st_size
        table = _whole(str(path), pieces_of(str(path), handle, missing), size)
        if table.separator and (again := [name for name in written if name in table.columns]):
            handle.seek(0)
            pieces = pieces_of(str(path), handle, None)
            few = (replace(one, columns={name: one.columns[name] for name in again}) for one in pieces)
            table = replace(table, columns={**table.columns, **_whole(str(path), few, size).columns})
    return table


def pieces_of(name: str, handle: BinaryIO, missing: Collection[str] | None = ()) -> Iterator[Table]:
    """Read a table from an open file or pipe, some rows at a time, so that memory stays flat.

    Args:
        name: what messages call it.
        handle: at its beginning.
        missing: as that of `read_table`; `None` where only empty cells are missing.

    Raises:
        DataError: as `read_table`, once the reading gets there.
    """
    from droplab.data.csv_file import csv_pieces

    rows = 0
    with reading(name, "a sound table"):
        start = handle.read(len(PARQUET_MAGIC))
        if not start:
            raise DataError(f"{name}: must be a table; found nothing in it.")
        if start == PARQUET_MAGIC:
            pieces = _parquet_pieces(name, handle if handle.seekable() else io.BytesIO(start + handle.read()))
        else:
            pieces = csv_pieces(name, start, handle, missing)
        for piece in pieces:
            rows += len(piece)
            yield replace(piece, columns={key: _marked(cells, missing or ()) for key, cells in piece.columns.items()})
    if not rows:
        raise DataError(f"{name}: must have at least one row below the names of its columns; found none.")


def _whole(name: str, pieces: Iterator[Table], size: int) -> Table:
    """Pieces as one table, as long as they are not far more than their file."""
    found: list[Table] = []
    held = 0
    for piece in pieces:
        held += sum(cells.nbytes for cells in piece.columns.values())
        check_expansion(name, size, held)
        found.append(piece)
    columns = {key: pa.chunked_array([one.columns[key] for one in found]).combine_chunks() for key in found[0].columns}
    return replace(found[0], columns=columns, rows=np.concatenate([one.rows for one in found]))


def _parquet_pieces(name: str, handle: BinaryIO | io.BytesIO) -> Iterator[Table]:
    """The rows of a Parquet file, so many at a time that their cells take about `_PIECE` bytes.

    What a few bytes of a file stand for has no bound: texts stay as places in a dictionary until they are counted, the
    sizes of groups of rows are added up before any is read, and what can be no feature is not read at all.
    """
    from pyarrow import parquet

    with reading(name, "a sound Parquet file"):
        size = handle.seek(0, io.SEEK_END)
        told = parquet.ParquetFile(handle, thrift_container_size_limit=_MOST_LISTED)
        schema, groups = told.schema_arrow, [told.metadata.row_group(k) for k in range(told.num_row_groups)]
        check_names(name, schema.names)
        single = [one.name for one in schema if holds_one(one.type)]
        if not single:
            raise DataError(f"{name}: must have columns of one value a row; found none. Make columns of the values.")
        for place, group in enumerate(groups):
            check_expansion(name, size, group.total_byte_size)
            next(told.iter_batches(1, [place], single), None)  # an error here would end the process in `_chunks`
        places = [place for place in range(len(told.schema)) if told.schema.column(place).path in single]
        deltas = {one.path_in_schema for one in _chunks(groups, places) if any("DELTA" in way for way in one.encodings)}
        coded = [one.name for one in schema if is_text(one.type) and one.name not in deltas]  # Arrow has no other way
        file = parquet.ParquetFile(handle, metadata=told.metadata, read_dictionary=coded)
        aside = dict.fromkeys(_index_of(schema.metadata, schema.names), "it is the index of a pandas table")
        rows = held = 0
        for place, group in enumerate(groups):
            repeated = [one for one in _chunks([group], places) if one.path_in_schema in deltas and _repeats(one)]
            longest = max((one.total_uncompressed_size for one in repeated), default=1)  # a text's, in each row
            at_once = max(1, min(ROWS_AT_ONCE, _PIECE // (_NUMBER * len(single)), _PIECE // max(1, longest)))
            for batch in file.iter_batches(at_once, [place], single):
                for part in _parts(batch):
                    read = dict(zip(part.schema.names, map(_cells, part.columns), strict=True))
                    columns = {
                        one.name: read[one.name] if one.name in read else _unread(one.type, len(part)) for one in schema
                    }
                    held += sum(cells.nbytes for cells in columns.values())
                    check_expansion(name, size, held)
                    yield Table(name, columns, np.arange(rows + 1, rows + len(part) + 1), aside)
                    rows += len(part)


def _chunks(groups: Sequence[Any], places: Sequence[int]) -> Iterator[Any]:
    """What a Parquet file says of some columns of some groups of rows."""
    return (group.column(place) for group in groups for place in places)


def _repeats(chunk: Any) -> bool:
    """Whether a column can have a text in many rows that the file has once."""
    return chunk.physical_type == "BYTE_ARRAY" and not _ONCE.issuperset(chunk.encodings)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch, halved until the texts of each part take no more than `_PIECE` bytes."""
    texts = [cells for cells in batch.columns if pa.types.is_dictionary(cells.type) and is_text(cells.type.value_type)]
    decoded = sum(pc.sum(pc.binary_length(cells.dictionary).take(cells.indices)).as_py() or 0 for cells in texts)
    if len(batch) < 2 or decoded <= _PIECE:
        yield batch
        return
    half = len(batch) // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def _unread(kind: pa.DataType, rows: int) -> pa.Array:
    """Cells of which the type alone is told."""
    return pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int8()), pa.nulls(0, kind))


def _index_of(metadata: Mapping[bytes, bytes] | None, names: Collection[str]) -> list[str]:
    """The columns that were the index of the pandas table that was written."""
    try:
        told = json.loads((metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return [name for name in told if isinstance(name, str) and name in names] if isinstance(told, list) else []


def _cells(cells: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Cells in one piece, text of any type as `TEXT`."""
    whole = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    if pa.types.is_dictionary(whole.type):
        if is_text(whole.type.value_type):  # views of text, as polars has them, cannot be taken
            whole = pa.DictionaryArray.from_arrays(whole.indices, whole.dictionary.cast(TEXT))
        whole = whole.dictionary_decode()
    return whole.cast(TEXT) if is_text(whole.type) else whole


def _marked(cells: pa.Array, missing: Collection[str]) -> pa.Array:
    """Cells of which blank ones, and those that say that a value is missing, are null."""
    if cells.type == TEXT:
        texts = pc.utf8_trim_whitespace(cells)
    elif missing and holds_one(cells.type):
        texts = texts_of(cells)
    else:
        return cells
    same = {f"{canonical(mark)}{end}" for mark in missing for end in ("", ".0")}  # a number by its value
    none = pc.is_in(texts, pa.array({"", *missing, *same}, TEXT))
    return pc.if_else(none, pa.scalar(None, cells.type), cells)


def check_names(name: str, names: Sequence[str]) -> None:
    """Raise `DataError` unless these can be the names of a table's columns."""
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{name}: a table may have {MOST_COLUMNS:,} columns; found {len(names):,}. Keep so many as npz or npy."
        )
    if twice := sorted({one for one in names if names.count(one) > 1} if len(set(names)) < len(names) else ()):
        raise DataError(f"{name}: each column must have a name of its own; found {twice[0]!r} twice. Rename one.")


def check_expansion(name: str, size: int, unpacked: int) -> None:
    """Raise `DataError` where so few bytes hold so many."""
    if unpacked > disk.expansion_limit(size):
        raise DataError(
            f"{name}: {size:,} bytes must not unpack to {unpacked:,} or more: this looks like a bomb. If it is meant, "
            "store it unpacked."
        )
