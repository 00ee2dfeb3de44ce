"""Cells of a table as text and as numbers: one spelling of a value, whatever type its file has for it."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ConfigDict

from droplab.config import Validated

MISSING = (
    *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "NULL", "null"),
    *("NaN", "nan", "-NaN", "-nan", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
)
"""Cells that say, without quotes, that a value is missing: those that Arrow and pandas know."""

LARGEST = float(np.finfo(np.float32).max)
"""The largest number of a feature: networks compute in `float32`."""

TEXT = pa.large_string()
"""The type of cells that are text."""

UNKNOWN = -1.0
"""The place of a text that is none of those known."""

_EXACT = 2**53  # beyond it, float64 leaves out whole numbers
_TRUTH = ("true", "false")

# A number as people write it: (1,234.50), -3, $ 5, 12.5 %, 1e-3; which mark means what is settled by a `Spelling`.
_NUMBER = (
    r"^(?P<open>\(?)(?P<before>[-+]?)(?P<left>\p{Sc}?) ?(?P<after>[-+]?)"
    r"(?P<digits>[0-9][0-9.,' ]*[0-9.,]|[0-9]|[.,][0-9]+)(?P<power>[eE][-+]?[0-9]+)?"
    r" ?(?P<right>[%‰]|\p{Sc})?(?P<close>\)?)$"
)
_PARTS = ("open", "before", "left", "after", "digits", "power", "right", "close")
_USUAL = ((r"\x{2212}", "-"), (r"[\x{a0}\x{2009}\x{202f}]", " "), (r"\x{2019}", "'"))
"""What is printed in the place of a sign of the keyboard."""


class Spelling(Validated):
    """How a column spells its numbers.

    Attributes:
        decimal: the mark before decimals.
        thousands: the mark between groups of digits, which may be left out.
        unit: the percent or currency sign that stands beside each number.
        truth: whether they are truth values: 1 for `true` and 0 for `false`, in any case.
    """

    model_config = ConfigDict(strict=True)

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    unit: str = ""
    truth: bool = False

    @property
    def pattern(self) -> str:
        """What the digits of a number match."""
        decimal, mark = (f"\\{sign}" if sign in (".", ",") else sign for sign in (self.decimal, self.thousands))
        # groups of three, or as in India of two before the last three
        grouped = f"|[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}" if mark else ""
        return f"^(?:(?:[0-9]+{grouped})(?:{decimal}[0-9]*)?|{decimal}[0-9]+)$"

    @property
    def words(self) -> str:
        """What is special about it; empty where it is as programs write numbers."""
        groups = {"": "", " ": "spaces between thousands"}.get(self.thousands, f"{self.thousands} between thousands")
        parts = (
            "true or false" if self.truth else "",
            "decimal comma" if self.decimal == "," else "",
            groups,
            self.unit,
        )
        return ", ".join(part for part in parts if part)


PLAIN = Spelling()


class Fault(NamedTuple):
    """The first cell of some that is not what it must be: its place, and its text."""

    row: int
    text: str


def texts_of(cells: pa.Array) -> pa.Array:
    """Cells as text, null where there is none; of typed cells in one spelling, in which no other cell has a part.

    A whole number has no point (1.0 is `1`), a truth value is `True` or `False`, a moment is as ISO 8601 has it.

    Raises:
        pa.ArrowException: if a cell holds several values, or bytes that are no text.
    """
    kind = cells.type
    if pa.types.is_boolean(kind):
        return pc.if_else(cells, pa.scalar("True", TEXT), pa.scalar("False", TEXT))
    if pa.types.is_floating(kind):
        wide = pc.cast(cells, pa.float64())
        whole = pc.and_(pc.equal(pc.floor(wide), wide), pc.less(pc.abs(wide), float(_EXACT)))
        short = pc.cast(pc.if_else(whole, wide, None), pa.int64()).cast(TEXT)
        return pc.coalesce(short, pc.cast(pc.if_else(pc.is_nan(wide), None, cells), TEXT))
    if pa.types.is_decimal(kind):
        return _replaced(pc.cast(cells, TEXT), (r"(\.[0-9]*?)0+$", r"\1"), (r"\.$", ""))
    if pa.types.is_timestamp(kind):
        return _replaced(pc.cast(cells, TEXT), (r"\.0+(Z?)$", r"\1"), (r"[ T]00:00:00Z?$", ""))
    return pc.cast(cells, TEXT)


def canonical(text: str) -> str:
    """What texts that mean one category have in common: no spaces around, `1.0` as `1`, truth values in one case.

    >>> [canonical(text) for text in ("2.0", " TRUE", "01", "1.50")]
    ['2', 'true', '01', '1.50']
    """
    text = text.strip()
    return text.lower() if text.lower() in _TRUTH else re.sub(r"^(-?(?:0|[1-9]\d*))\.0+$", r"\1", text)


def group_of(text: str) -> str:
    """What texts that may mean one group have in common, so that none is in train and test under two spellings.

    Letters of any form and case, spaces, invisible signs; a number by its value; a moment with or without a time of 0.

    >>> group_of("05") == group_of("5.0"), group_of("Patient  5") == group_of("patient 5")
    (True, True)
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = " ".join("".join(sign for sign in plain if unicodedata.category(sign) != "Cf").split())
    try:
        value = float(re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain)) + 0.0  # no minus before 0
    except ValueError:
        plain = re.sub(r"(?<=\d)t(?=\d)", " ", plain)
        return re.sub(r"( 00:00(:00)?)?(\.0+)?z?$", "", re.sub(r"(\.\d*?)0+z?$", r"\1", plain)).rstrip(".")
    return repr(value)


def codes_of(texts: pa.Array, known: tuple[str, ...]) -> NDArray[np.float64]:
    """The place of each text among those that are known; NaN for null, `UNKNOWN` where there is none.

    Where none is equal, one that is canonically alike is taken, if it is the only one.
    """
    places = pc.index_in(texts, pa.array(known, TEXT))
    codes = np.asarray(pc.fill_null(places, -1)).astype(np.float64)
    codes[np.asarray(texts.is_null())] = np.nan
    if (codes == UNKNOWN).any():
        alike: dict[str, list[int]] = {}
        for place, text in enumerate(known):
            alike.setdefault(canonical(text), []).append(place)
        for text in pc.unique(texts.filter(pa.array(codes == UNKNOWN))).to_pylist():
            if len(same := alike.get(canonical(text), [])) == 1:
                codes[np.asarray(pc.fill_null(pc.equal(texts, pa.scalar(text, TEXT)), False))] = same[0]
    return codes


def parts_of(texts: pa.Array) -> dict[str, pa.Array]:
    """The `sign`, `digits`, `power` and `unit` of texts that may be numbers; null where a text is none."""
    found = pc.extract_regex(_replaced(pc.utf8_trim_whitespace(texts), *_USUAL), pattern=_NUMBER)
    part = {name: pc.struct_field(found, name) for name in _PARTS}
    sign, unit = _joined(part["before"], part["after"]), _joined(part["left"], part["right"])
    opened, closed = pc.equal(part["open"], "("), pc.equal(part["close"], ")")
    single = pc.and_(pc.less(pc.utf8_length(sign), 2), pc.less(pc.utf8_length(unit), 2))
    bracketed = pc.and_(pc.equal(opened, closed), pc.or_(pc.invert(opened), pc.equal(sign, "")))
    sound = pc.and_(single, bracketed)
    made = {"sign": pc.if_else(opened, "-", sign), "digits": part["digits"], "power": part["power"], "unit": unit}
    return {name: pc.if_else(sound, array, None) for name, array in made.items()}


def numbers_of(
    cells: pa.Array, spelling: Spelling = PLAIN, words: bool = False
) -> tuple[NDArray[np.float64], Fault | None]:
    """Cells as numbers.

    Args:
        cells: of any type, shape (rows,).
        spelling: of those that are text.
        words: whether truth values are 1 and 0 where others are numbers, too; where `spelling` is of them, they are.

    Returns:
        Shape (rows,), NaN where there is no value, which a cell of numbers says with quotes, too; and the first cell
        that has one and is no finite number of that spelling up to `LARGEST`, or a whole one that `float64` has not.
    """
    kind = cells.type
    words = words or spelling.truth
    if kind == TEXT:
        cells = pc.utf8_trim_whitespace(cells)
        cells = pc.if_else(pc.is_in(cells, pa.array(MISSING, TEXT)), None, cells)
        found = _parsed(cells, spelling, words)
    elif (pa.types.is_boolean(kind) and words) or (is_number(kind) and not spelling.unit):
        found = pc.cast(cells, pa.float64(), safe=False)
    else:
        found = pa.nulls(len(cells), pa.float64())
    values = np.asarray(pc.fill_null(found, np.nan))
    none = pc.is_null(cells, nan_is_null=True) if pa.types.is_floating(kind) else cells.is_null()
    there = ~np.asarray(none)
    odd = there & ~(np.abs(values) <= LARGEST)
    if spelling.truth:
        odd |= there & (values != 0) & (values != 1)
    large = np.flatnonzero(there & (np.abs(values) >= _EXACT)).tolist()
    odd[[row for row in large if str(cells[row]).lstrip("+-").isdigit()]] = True
    if not odd.any():
        return values, None
    first = int(odd.argmax())
    cell = cells.slice(first, 1)
    return values, Fault(first, str(texts_of(cell)[0] if holds_one(kind) else cell[0]))


def holds_one(kind: pa.DataType) -> bool:
    """Whether cells of a type are of one value each: a text, a number, a truth value, a moment; or nothing."""
    if pa.types.is_dictionary(kind):
        return holds_one(kind.value_type)
    return bool(is_text(kind) or pa.types.is_primitive(kind) or pa.types.is_null(kind) or is_number(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of a type are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether cells of a type are numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _parsed(texts: pa.Array, spelling: Spelling, words: bool) -> pa.Array:
    """Texts as numbers, null where they are none of that spelling."""
    if words:
        lower = pc.utf8_lower(texts)
        texts = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", texts))
    if spelling in (PLAIN, Spelling(truth=True)):
        try:
            return pc.cast(texts, pa.float64())
        except pa.ArrowInvalid:
            pass  # some cell is no such number, or has a sign that only people write
    part = parts_of(texts)
    fits = pc.and_(pc.match_substring_regex(part["digits"], spelling.pattern), pc.equal(part["unit"], spelling.unit))
    digits = pc.replace_substring(part["digits"], spelling.thousands, "") if spelling.thousands else part["digits"]
    digits = pc.replace_substring(digits, spelling.decimal, ".")
    sign = pc.if_else(pc.equal(part["sign"], "+"), "", part["sign"])
    return pc.cast(pc.if_else(fits, _joined(sign, digits, part["power"]), None), pa.float64())


def _joined(*texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*texts, pa.scalar("", TEXT))


def _replaced(texts: pa.Array, *pairs: tuple[str, str]) -> pa.Array:
    """Texts in which each pattern is replaced."""
    for pattern, instead in pairs:
        texts = pc.replace_substring_regex(texts, pattern, instead)
    return texts
