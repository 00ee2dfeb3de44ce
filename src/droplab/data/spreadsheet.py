"""Tables as CSV, of which a spreadsheet runs no cell: every CSV file of droplab's is made here."""

from __future__ import annotations

import csv
import re
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

_RUNS = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_text(frame: pd.DataFrame, raw: bool = False, header: bool = True) -> str:
    r"""A table as CSV.

    Args:
        frame: the table.
        raw: whether text is written as it is. Otherwise text that begins with `=`, `+`, `-`, `@`, a tab or a carriage
            return, and is no number, has an apostrophe before it: a spreadsheet would take it for a formula.
        header: whether the names of the columns come first.

    >>> csv_text(pd.DataFrame({"arm": ["=1+1", "-1", "plain"], "value": [-1, 2, 3]}))
    "arm,value\n'=1+1,-1\n-1,2\nplain,3\n"
    """
    if not raw:
        kept = [column if is_numeric_dtype(column) else column.map(_quiet) for _, column in frame.items()]
        frame = pd.concat(kept, axis=1).set_axis([_quiet(name) for name in frame.columns], axis=1)
    text = frame.to_csv(index=False, header=header, lineterminator="\n")
    if "\r" in text:  # which ends a line for some readers, unless it is quoted
        text = frame.to_csv(index=False, header=header, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def _quiet(cell: Any) -> Any:
    runs = isinstance(cell, str) and _RUNS.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if runs else cell
