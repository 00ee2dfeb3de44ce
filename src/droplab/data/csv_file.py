"""CSV files: text that is checked as it is read, its separator, the names of its columns → pieces of a table."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from pyarrow import csv as arrow_csv

from droplab.data.cells import MISSING, TEXT
from droplab.data.idx import GZIP_MAGIC
from droplab.data.tables import ROWS_AT_ONCE, UNNAMED, Table, check_expansion, check_names, listed
from droplab.errors import DataError, DroplabError, line, reading

_SEPARATORS = "\t;|,"  # of equally good ones the first: a comma is most often part of a text
_HEAD = 1 << 20  # bytes that separator and names are found in, more where the names take more
_LONGEST_HEAD = 4 << 20
_LONGEST_CELL = 65 << 20
_PIECE = 4 << 20  # bytes parsed at once
_LOOKED_AT = 200  # rows that a separator is checked on
_COUNTED = 10  # so many names that grow from one to the next are names, even if they are numbers


def csv_pieces(name: str, start: bytes, handle: BinaryIO, missing: Collection[str] | None) -> Iterator[Table]:
    """The rows of a CSV file, some at a time; every cell is text, or null where it is missing.

    Args:
        name: what messages call it.
        start: its first bytes, which have been read.
        handle: the rest.
        missing: as that of `tables.pieces_of`.

    Raises:
        DataError: if it is no such file.
    """
    text = _Text(name, start, handle)
    head = _head(name, text)
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        separator, raw, skip = _layout(name, head)
    finally:
        csv.field_size_limit(limit)
    names = [one.strip() for one in raw]
    aside = {f"column {k + 1}": UNNAMED for k, one in enumerate(names) if not one}
    unnamed = iter(aside)
    names = [one or next(unnamed) for one in names]
    check_names(name, names)
    _check_no_data(name, names)
    trimmed = [one.strip() for one in raw if one != one.strip()]
    notes = (f"{name}: spaces around names of columns are left out: {listed(trimmed)}",) if trimmed else ()
    text.push(head[skip:])
    odd: list[Any] = []

    def refuse(row: Any) -> str:
        odd.append(row)
        return "error"

    marks = [""] if missing is None else [*MISSING, *missing]
    rows, last = 0, ""
    try:
        reader = arrow_csv.open_csv(
            text,
            arrow_csv.ReadOptions(column_names=names, block_size=_PIECE, use_threads=False),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=refuse),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, TEXT),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=marks,
            ),
        )
        for batch in reader:
            for place in range(0, len(batch), ROWS_AT_ONCE):
                part = batch.slice(place, ROWS_AT_ONCE)
                columns = dict(zip(names, part.columns, strict=True))
                yield Table(name, columns, np.arange(rows + 1, rows + len(part) + 1), aside, separator, notes)
                rows += len(part)
            last = str(batch.columns[-1][-1]) if len(batch) else last
        if text.quotes % 2 and "\n" in last:
            raise DataError(f"{name}: each quote must be closed; found one open from row {rows} to the end. Close it.")
    except DroplabError:
        raise
    except Exception as error:  # Arrow's, of what it cannot parse
        if not text.seen and not rows and not odd:
            return  # no row at all, of which Arrow says "empty file"
        raise DataError(_fault(name, odd, len(names), error)) from None


def _fault(name: str, odd: Sequence[Any], columns: int, error: Exception) -> str:
    must = f"{name}: must be a CSV file whose rows have as many cells as the first line has names ({columns})"
    if not odd:
        return f"{must}; found: {line(error)}. Correct the file."
    row = odd[0]
    where = "" if row.number is None else f" in row {row.number}"
    shown = " ".join(row.text[:60].split())
    return f"{must}; found {row.actual_columns} cells{where}: {shown!r}. Correct the row."


class _Text:
    """The bytes of a text file for Arrow to read: unpacked, in UTF-8 for certain, without the mark before them.

    Attributes:
        seen: whether anything but blank space was read.
        quotes: how many there were so far.
    """

    closed = False

    def __init__(self, name: str, start: bytes, handle: BinaryIO) -> None:
        self._name, self._ahead, self._at = name, b"", 0
        self._packed = _Counted(start, handle)
        packed = start.startswith(GZIP_MAGIC)
        self._raw: Any = gzip.GzipFile(fileobj=io.BufferedReader(self._packed)) if packed else self._packed
        self._is_packed = packed
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.seen, self.quotes = False, 0

    def read(self, size: int = -1) -> bytes:
        """Some of what is left, at least a byte unless nothing is."""
        ahead, self._ahead = self._ahead, b""
        content = ahead or self._next(size if size > 0 else _PIECE)
        self.seen = self.seen or bool(content.strip())
        return content

    def push(self, content: bytes) -> None:
        """Put back what is to be read next, as if it had not been seen."""
        self._ahead, self.seen = content, False

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    def readable(self) -> bool:
        """Always."""
        return True

    def _next(self, size: int) -> bytes:
        with reading(self._name, "a sound gzip file", "Pack it again."):
            content = bytes(self._raw.read(size))
        try:
            self._decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            at = self._at - (len(error.object) - len(content)) + error.start
            raise DataError(
                f"{self._name}: must be text in UTF-8; found byte 0x{error.object[error.start]:02x} at {at}. Save it "
                "so."
            ) from None
        if (zero := content.find(b"\0")) >= 0:
            raise DataError(
                f"{self._name}: must be text; found a zero byte at {self._at + zero}. Is it another kind of file?"
            )
        self.quotes += content.count(b'"')
        first, self._at = not self._at, self._at + len(content)
        if self._is_packed:
            check_expansion(self._name, self._packed.count, self._at)
        return content.removeprefix(codecs.BOM_UTF8) if first else content


class _Counted(io.RawIOBase):
    """Bytes of which some were read already, counted."""

    def __init__(self, start: bytes, handle: BinaryIO) -> None:
        self._start, self._handle, self.count = start, handle, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        content = content or self._handle.read(len(buffer))
        buffer[: len(content)] = content
        self.count += len(content)
        return len(content)


def _head(name: str, text: _Text) -> bytes:
    """The beginning of a file, its first line with names for certain."""
    head = b""
    while len(head) < _HEAD or len(head.lstrip().splitlines()) < 2:
        if not (more := text.read(_HEAD)):
            break
        head += more
        if len(head) > _LONGEST_HEAD and len(head.lstrip().splitlines()) < 2:
            raise DataError(
                f"{name}: the first line must name the columns, in at most {_LONGEST_HEAD:,} bytes; found no end of it."
                " Is it another kind of file?"
            )
    if not head.strip():
        raise DataError(f"{name}: must begin with the names of its columns; found nothing but empty lines.")
    return head


def _layout(name: str, head: bytes) -> tuple[str, list[str], int]:
    """The separator, the names of the columns, and how many bytes these take."""
    content = head.decode(errors="ignore")
    told = re.match(r"\s*sep=(.)[^\S\r\n]*(\r\n|\r|\n)", content)  # what Excel writes before the names
    begin = told.end() if told else 0
    body = content[begin:]
    candidates = told.group(1) if told else _SEPARATORS
    separator = max(candidates, key=lambda each: _fit(body, each))
    lines = io.StringIO(body, newline="")
    reader = csv.reader(lines, delimiter=separator)
    try:
        names = next(record for record in reader if record)
    except (StopIteration, csv.Error) as error:
        reason = line(error) if isinstance(error, csv.Error) else "none"
        raise DataError(f"{name}: must begin with the names of its columns; found {reason}.") from None
    taken = itertools.islice(io.StringIO(body, newline=""), reader.line_num)  # as the reader counts lines
    return separator, names, len((content[:begin] + "".join(taken)).encode())


def _fit(content: str, separator: str) -> tuple[float, int]:
    """How well a separator parts the first rows: the share that has as many cells as there are names, and how many."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    try:
        records = [len(record) for record in itertools.islice((one for one in reader if one), _LOOKED_AT)]
    except csv.Error:
        return (-1.0, 0)
    if not records or records[0] < 2:
        return (0.0, 0)
    rows = records[1:-1] or records[1:]  # the last may be cut
    alike = sum(count == records[0] for count in rows) / len(rows) if rows else 1.0
    return (round(alike, 1), records[0])


def _check_no_data(name: str, names: Sequence[str]) -> None:
    """Raise `DataError` where the first line is a row: most of its names are numbers, and they do not count."""
    numbers = [float(one.replace(",", ".")) for one in names if _is_number(one)]
    counts = len(numbers) >= _COUNTED and all(a < b for a, b in itertools.pairwise(numbers))
    if 2 * len(numbers) > len(names) and not counts:
        found = listed([one for one in names if _is_number(one)])
        raise DataError(
            f"{name}: the first line must name the columns; found numbers ({found}), as in a row. Put a line of names "
            "first."
        )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?", text) is not None
