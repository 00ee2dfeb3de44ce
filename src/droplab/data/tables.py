"""Tables as text or Parquet: a file → a frame with named columns."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from droplab.data import disk
from droplab.data.idx import GZIP_MAGIC
from droplab.data.preprocessing import listed
from droplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq")
"""How the names of tables end."""

MOST_COLUMNS = 10_000
"""A table with more is one of numbers, for which npz and npy are meant."""

_PARQUET_MAGIC = b"PAR1"
_SEPARATORS = ",;\t|"


def is_table(path: Path) -> bool:
    """Whether a path's name is that of a table."""
    return path.name.lower().endswith(SUFFIXES)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file (UTF-8, perhaps gzip; `,`, `;`, `|` or tab between, names of columns first) or a Parquet file.

    Empty cells, `NA`, `NaN`, `null` and the like are missing values.

    Raises:
        DataError: if it is no such file, is damaged, has no row, a row of another length, columns without a name of
            their own, or more than `MOST_COLUMNS`.
    """
    with disk.open_regular(path) as handle:
        return read_stream(str(path), handle)


def read_stream(name: str, handle: BinaryIO) -> pd.DataFrame:
    """Read a table from an open file or pipe, all of it, as `read_table`; `name` is what messages call it."""
    content = handle.read()
    if not content:
        raise DataError(f"{name}: must be a table; found nothing in it.")
    table = _parquet(name, content) if content.startswith(_PARQUET_MAGIC) else _csv(name, content)
    if not table.num_rows:
        raise DataError(f"{name}: must have at least one row below the names of its columns; found none.")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _parquet(name: str, content: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        _check_names(name, file.schema_arrow.names)
        unpacked = sum(file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups))
        _check_expansion(name, len(content), unpacked)
        return file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: must be a sound Parquet file; found: {_line(error)}. Write it again.") from None


def _csv(name: str, content: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    content = _text_of(name, content)
    first = _first_line(name, content)
    separator = max(_SEPARATORS, key=first.count)
    try:
        (names,) = csv.read_csv(
            io.BytesIO(f"{first}\n".encode()),
            read_options=csv.ReadOptions(autogenerate_column_names=True),
            parse_options=csv.ParseOptions(delimiter=separator),
            convert_options=csv.ConvertOptions(strings_can_be_null=False, null_values=[]),
        ).to_pylist()
        _check_names(name, [str(name) for name in names.values()])
        return csv.read_csv(
            io.BytesIO(content),
            parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=csv.ConvertOptions(strings_can_be_null=True),
        )
    except (pa.ArrowException, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{name}: must be a CSV file whose rows have as many cells as the first line has names; found: "
            f"{_line(error)}. Correct the row."
        ) from None


def _text_of(name: str, content: bytes) -> bytes:
    """The file's bytes, unpacked; UTF-8 for certain, without the mark that some programs put before it."""
    import gzip
    import zlib

    if content.startswith(GZIP_MAGIC):
        limit = disk.expansion_limit(len(content))
        try:
            with gzip.open(io.BytesIO(content)) as packed:
                unpacked = packed.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{name}: must be a sound gzip file; found: {_line(error)}. Pack it again.") from None
        _check_expansion(name, len(content), len(unpacked))
        content = unpacked
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: must be text in UTF-8; found byte 0x{content[error.start]:02x} at {error.start}. Save it so."
        ) from None
    if b"\0" in content:
        raise DataError(f"{name}: must be text; found a zero byte at {content.index(0)}. Is it another kind of file?")
    return content


def _first_line(name: str, content: bytes) -> str:
    first = re.split(r"\r\n|\r|\n", content[: 64 << 20].decode(errors="ignore").lstrip("\r\n"), maxsplit=1)[0]
    if not first.strip():
        raise DataError(f"{name}: must begin with the names of its columns; found nothing but empty lines.")
    return first


def _check_names(name: str, names: list[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{name}: a table may have {MOST_COLUMNS:,} columns; found {len(names):,}. Keep so many as npz or npy."
        )
    if any(not name.strip() for name in names):
        raise DataError(f"{name}: each column must have a name; found none for column {_unnamed(names) + 1}. Name it.")
    if all(_is_number(name) for name in names):
        raise DataError(
            f"{name}: the first line must name the columns; found numbers ({listed(names)}). Put a line of names first."
        )
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise DataError(f"{name}: each column must have a name of its own; found {twice[0]!r} twice. Rename one.")


def _unnamed(names: list[str]) -> int:
    return next(place for place, name in enumerate(names) if not name.strip())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_expansion(name: str, size: int, unpacked: int) -> None:
    if unpacked > disk.expansion_limit(size):
        raise DataError(
            f"{name}: {size:,} bytes must not unpack to {unpacked:,} or more: this looks like a bomb. If it is meant, "
            "store it unpacked."
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or "it ends too early"
