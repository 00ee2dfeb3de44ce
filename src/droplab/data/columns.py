"""What a table's columns are: numbers or categories, decided once, on the rows that are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from droplab.config import ColumnKind
from droplab.data.cells import MISSING, PLAIN, TEXT, Spelling, holds_one, numbers_of, parts_of
from droplab.data.tables import Table
from droplab.errors import ConfigError, DataError

MOST_CATEGORIES = 1_000
"""Most categories of a column: one with more is an identifier or free text."""

FEW = 20
"""As many different values as categories have that are spelt as numbers; measured values are more."""

_MOSTLY = 0.5  # share of a column's cells that are numbers, or dates, from which on it is one of these
_SLIPS = 0.1  # share of cells that are none, below which they are slips in a column of numbers
_MARKS = (
    "?",
    "-",
    "--",
    ".",
    "*",
    "n.a.",
    "n. a.",
    "n.d.",
    "N.A.",
    "na",
    "Na",
    "none",
    "None",
    "NONE",
    "missing",
    "<NA>",
)
"""What people write for a missing value, beside `MISSING`: offered, never assumed."""

_SPELLINGS = (
    PLAIN,
    Spelling(decimal=","),
    Spelling(thousands=","),
    Spelling(decimal=",", thousands="."),
    Spelling(thousands=" "),
    Spelling(decimal=",", thousands=" "),
    Spelling(thousands="'"),
    Spelling(decimal=",", thousands="'"),
)
"""How numbers are spelt, those first that need less."""

_ANY_NUMBER = "|".join(one.pattern for one in _SPELLINGS)

_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12][0-9]|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:[12][0-9]{3}|[0-9]{2})"
_NAME = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_ZONE = r"(?: ?(?:z|[a-z]{3,4}|[-+][0-9]{2}:?[0-9]{2}))?(?:\[[a-z_/]+\])?"
_TIME = rf"[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?: ?[ap]\.?m\.?)?{_ZONE}"
_DATE = "|".join(
    [
        *(rf"[12][0-9]{{3}}{mark}{_MONTH}{mark}{_DAY}" for mark in ("-", "/", r"\.")),
        *(rf"{_DAY}{mark}{_MONTH}{mark}{_YEAR}" for mark in ("-", "/", r"\.")),
        *(rf"{_MONTH}{mark}{_DAY}{mark}{_YEAR}" for mark in ("-", "/")),
        rf"{_DAY}(?:st|nd|rd|th)?[ ./-]{{0,2}}{_NAME}[ ,./-]{{0,2}}{_YEAR}(?::{_TIME})?",
        rf"[12][0-9]{{3}}[-/ ]{_NAME}[-/ ]{_DAY}",
        rf"{_NAME} {{1,2}}{_DAY} {_TIME} [12][0-9]{{3}}",
        rf"{_NAME}[ -]?[12][0-9]{{3}}",
        rf"[12][0-9]{{3}}[-/]{_MONTH}|{_MONTH}/[12][0-9]{{3}}",
        r"[12][0-9]{3}-?w[0-5][0-9](?:-?[1-7])?|[12][0-9]{3}-?q[1-4]|q[1-4][ /-]?[12][0-9]{3}",
        rf"[12][0-9]{{3}}-?[01][0-9]-?[0-3][0-9]t[0-9]{{4,6}}{_ZONE}",
        rf"[0-9]+ days?,? {_TIME}|p(?:[0-9.]+[ymwd])*t?(?:[0-9.]+[hms])+",
        rf"{_NAME} {_DAY}(?:st|nd|rd|th)?,? {_YEAR}",
    ]
)
_MOMENT = rf"(?i)^(?:(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?(?:{_DATE})(?:(?:[t ]|, ) ?{_TIME})?|{_TIME})$"

# What begins with digits, as numbers do that are spelt in a way nobody reads here: 5 kg, 10^3, 1/2, 3 ± 0.1, ="3.25".
_CURRENCY = r"(?:(?:AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|INR|JPY|NOK|PLN|RUB|SEK|USD|US\$|Rs|kr)\.? ?)?"
_LIKE_A_NUMBER = rf"(?i)^{_CURRENCY}[^\pL\p{{Nd}}]{{0,3}}\p{{Nd}}"
_INFINITE = r"(?i)^[-+]?inf(?:inity)?$"


@dataclass(frozen=True)
class Decision:
    """What a column is.

    Attributes:
        kind: `number`, `category` or `ignore`; `date` and `unreadable` can be no feature.
        spelling: of its numbers.
        fault: what is wrong with it and what to do, where it can be no feature; else empty.
    """

    kind: Literal["number", "category", "ignore", "date", "unreadable"]
    spelling: Spelling = PLAIN
    fault: str = ""


def decide(table: Table, told: Mapping[str, ColumnKind]) -> dict[str, Decision]:
    """Decide what each column of a table is, those that are no features by themselves aside.

    Args:
        table: the rows that are trained on.
        told: what columns are by their user's word; that settles it.

    Returns:
        By name, in the order of the columns.

    Raises:
        ConfigError: if there is no column of a name in `told`.
    """
    check_told(table, told)
    names = [name for name in table.columns if name in told or name not in table.aside]
    texts = {name: _texts(table.columns[name]) for name in names}
    fits = {name: _fitting(found) for name, found in texts.items() if found is not None}
    comma = any(len(each) > 0 and all(one.decimal == "," for one in each) for each in fits.values())
    return {
        name: _decision(table, name, told.get(name), texts[name], _chosen(fits.get(name, []), table.separator, comma))
        for name in names
    }


def check_told(table: Table, told: Mapping[str, ColumnKind]) -> None:
    """Raise `ConfigError` where something is told of a column that is not there, or what no column can be."""
    for name, kind in told.items():
        if kind not in get_args(ColumnKind):
            raise ConfigError(f"column {name!r} must be {', '.join(get_args(ColumnKind))}; found {kind!r}.")
        if name not in table.columns:
            raise ConfigError(
                f"columns must name columns of {table.name} ({table.columns_words}); found {name!r}.{table.hint(name)}"
            )


def is_count(cells: pa.Array) -> bool:
    """Whether cells count rows, from 0 or from 1, or are all empty: an index, of which nothing can be learnt."""
    values, fault = numbers_of(cells)
    empty = bool(np.isnan(values).all())
    counts = len(values) > 1 and any(np.array_equal(values, np.arange(len(values)) + first) for first in (0, 1))
    return fault is None and (empty or counts)


def _texts(cells: pa.Array) -> pa.Array | None:
    """The different texts of a column with text, without spaces around, those that say "missing" left out."""
    if cells.type != TEXT:
        return None
    texts = pc.unique(pc.utf8_trim_whitespace(cells))
    return texts.filter(pc.invert(pc.is_in(texts, pa.array([None, *MISSING], TEXT))))


def _parts(texts: pa.Array) -> dict[str, pa.Array]:
    """As `cells.parts_of`, null where a text is a number in no spelling."""
    part = parts_of(texts)
    sound = pc.match_substring_regex(part["digits"], _ANY_NUMBER)
    return {name: pc.if_else(sound, array, None) for name, array in part.items()}


def _fitting(texts: pa.Array) -> list[Spelling]:
    """The spellings in which all texts are numbers that can be numbers at all."""
    part = _parts(texts)
    digits = part["digits"].drop_null()
    units = pc.unique(part["unit"].drop_null()).to_pylist()
    if len(units) != 1:
        return []
    found = [one for one in _SPELLINGS if pc.all(pc.match_substring_regex(digits, one.pattern)).as_py()]
    return [one.model_copy(update={"unit": units[0]}) for one in found]


def _chosen(fitting: list[Spelling], separator: str, comma: bool) -> Spelling | None:
    """The spelling of a column's numbers, of those that fit.

    `1,234` is a decimal comma where semicolons part cells, as programs write both together, or where another column
    has certain ones; else it has thousands. `1.234` has thousands where another column has decimal commas.
    """
    if not fitting:
        return None
    decimal = "," if comma or separator == ";" else "."
    if {one.decimal for one in fitting} == {".", ","}:
        plain = any(one.decimal == "." and not one.thousands for one in fitting)
        if not plain or comma:
            return next(one for one in fitting if one.decimal == decimal)
    return fitting[0]


def _decision(
    table: Table, name: str, told: ColumnKind | None, texts: pa.Array | None, spelling: Spelling | None
) -> Decision:
    cells = table.columns[name]
    kind = cells.type
    if told == "ignore":
        return Decision("ignore")
    if texts is None:
        return _typed(name, kind, told)
    if told == "category" or not len(texts):
        return Decision("category")
    lower = set(pc.utf8_lower(texts).to_pylist()) if len(texts) <= FEW else set()
    if lower and lower <= ({"true", "false", "0", "1"} if told else {"true", "false"}) and lower & {"true", "false"}:
        return Decision("number", Spelling(truth=True))
    if told == "number":
        return Decision("number", spelling or PLAIN)
    return _guessed(table, name, texts, spelling)


def _typed(name: str, kind: pa.DataType, told: ColumnKind | None) -> Decision:
    """Of a column whose file says what its cells are."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind  # of what was not read, the type is there
    if not holds_one(kind):
        return Decision(
            "unreadable",
            fault=f"must hold one value a row; found {kind}. Make columns of it, or leave it out: "
            f"--columns {name}=ignore.",
        )
    if told == "category" or pa.types.is_null(kind):
        return Decision("category")
    if pa.types.is_temporal(kind):
        return Decision("date", fault=_no_dates(name, ""))
    return Decision("number", Spelling(truth=bool(pa.types.is_boolean(kind))))


def _no_dates(name: str, example: str) -> str:
    found = f"dates, such as {example!r}" if example else "dates"
    return (
        f"must hold numbers or categories; found {found}. Make numbers of them, as days, or leave the column out: "
        f"--columns {name}=ignore."
    )


def _guessed(table: Table, name: str, texts: pa.Array, spelling: Spelling | None) -> Decision:
    """Of a column of text of which nothing is said."""
    cells = pc.utf8_trim_whitespace(table.columns[name])
    counted = pc.value_counts(cells.filter(pc.is_in(cells, texts)))
    texts, counts = counted.field(0), np.asarray(counted.field(1))
    share = counts / counts.sum()
    part = _parts(texts)
    sign = part["sign"]
    numbers, moments = np.asarray(part["digits"].is_valid()), np.asarray(pc.match_substring_regex(texts, _MOMENT))
    marks = np.asarray(pc.is_in(texts, pa.array(_MARKS, TEXT)))
    said = share[~marks].sum()  # of cells that say something
    if share[moments].sum() >= _MOSTLY * said > 0 and not (numbers.all() and spelling):
        return Decision("date", fault=_no_dates(name, _first(texts, moments)))
    codes = pc.match_substring_regex(texts, r"^(?:0[0-9][0-9 /-]*|0[xX][0-9a-fA-F]+)$")
    plus = pc.match_substring_regex(texts, r"^\+[0-9][0-9 ()/-]*$")
    if pc.any(codes).as_py() or (pc.any(plus).as_py() and not pc.any(pc.equal(sign, "-")).as_py()):
        return _category(table, name, texts, codes=True)
    if not numbers.any() or share[numbers].sum() < _MOSTLY * said:
        return _category(table, name, texts, codes=False)
    odd = np.flatnonzero(~numbers)
    if len(odd):
        first = _first(texts, ~numbers)
        infinite = pc.any(pc.match_substring_regex(texts, _INFINITE)).as_py()
        if not marks[odd].all() and not infinite and share[odd].sum() >= _SLIPS and numbers.sum() <= FEW:
            return _category(table, name, texts, codes=False)
        return Decision("unreadable", fault=_slip(table, name, first))
    if spelling is None:
        a, b = _two_ways(texts)
        return Decision(
            "unreadable",
            fault=f"must spell its numbers in one way; found {a!r} and {b!r}. Write them alike, or say that they are "
            f"categories: --columns {name}=category.",
        )
    return Decision("number", spelling)


def _slip(table: Table, name: str, text: str) -> str:
    row = table.rows[pc.index(pc.utf8_trim_whitespace(table.columns[name]), pa.scalar(text, TEXT)).as_py()]
    return (
        f"must hold finite numbers, as most of its cells do; found {text!r} in row {row}. Correct the cell; or say "
        f"that it means a missing value: --missing {text!r}; or that the column has categories: "
        f"--columns {name}=category."
    )


def _category(table: Table, name: str, texts: pa.Array, codes: bool) -> Decision:
    """Of a column of categories; many that look like numbers are numbers that nobody reads."""
    like = np.asarray(pc.match_substring_regex(texts, _LIKE_A_NUMBER))
    if not codes and len(texts) > FEW and like.mean() >= _MOSTLY:
        return Decision(
            "unreadable",
            fault=f"looks like numbers, spelt in a way that is not read; found {_first(texts, like)!r}. Write plain "
            f"numbers, or say that they are categories: --columns {name}=category.",
        )
    return Decision("category")


def _two_ways(texts: pa.Array) -> tuple[str, str]:
    """Two texts that no spelling takes both."""
    first = texts[0].as_py()
    for text in texts.to_pylist()[1:]:
        if not _fitting(pa.array([first, text], TEXT)):
            return first, text
    return first, texts[-1].as_py()


def _first(texts: pa.Array, chosen: NDArray[np.bool_]) -> str:
    return str(texts[int(np.argmax(chosen))])


def check_decided(table: Table, decisions: Mapping[str, Decision]) -> None:
    """Raise `DataError` for the first column that can be no feature."""
    for name, one in decisions.items():
        if one.fault:
            raise DataError(f"{table.name}: column {name!r} {one.fault}")
