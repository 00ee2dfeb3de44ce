"""Preprocessing of tables: from columns of any kind to numbers, fitted on training rows and kept as plain data.

What each column becomes is found by scikit-learn's transformers; what they found is a description that JSON can hold,
and that NumPy alone carries out. A table goes through it in two steps: its cells are read as numbers (`read`), of which
arithmetic alone makes features (`features_of`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from droplab.config import ColumnKind, NumericEncoding, Validated
from droplab.data.cells import PLAIN, UNKNOWN, Spelling, codes_of, numbers_of
from droplab.data.columns import MOST_CATEGORIES, check_decided, decide
from droplab.data.tables import Table, listed
from droplab.data.unseen import FAR, Unseen
from droplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_STRICT = ConfigDict(strict=True)

BINS = 16
"""Most bins of a column of numbers that is encoded piecewise linearly."""


class Number(Validated):
    """A column of numbers or truth values: missing ones become the median; then minus the mean, over the deviation.

    With edges of bins there is a feature a bin instead: the share of the bin that lies below the number, 0 … 1
    (piecewise-linear encoding: Gorishniy, Rubachev & Babenko 2022; theirs goes on beyond the outermost edges, where
    training has no row and a narrow bin makes a slip of the keyboard as large as it likes).

    Attributes:
        name: of the column.
        fill: the median of the training rows that have a value.
        mean: of the training rows, filled.
        scale: their standard deviation.
        indicator: whether a second feature says that the value is missing: where training rows have missing values.
        spelling: how text is read as a number.
        edges: of its bins, rising; empty where it is one feature.
    """

    model_config = _STRICT

    kind: Literal["number"] = "number"
    name: str
    fill: float
    mean: float
    scale: float = Field(gt=0)
    indicator: bool
    spelling: Spelling = PLAIN
    edges: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _edges_of_bins(self) -> Self:
        if len(self.edges) == 1 or any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError(f"edges of bins must rise, and be at least 2; found {list(self.edges)}")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_special(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a plain spelling or no bins, so that older columns, and their fingerprints, are what they were."""
        told: dict[str, Any] = handler(self)
        usual = {"spelling": self.spelling == PLAIN, "edges": not self.edges}
        return {name: value for name, value in told.items() if not usual.get(name)}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One, or one a bin; and that of the indicator."""
        named = tuple(f"{self.name} bin {k}" for k in range(1, len(self.edges))) or (self.name,)
        return (*named, f"{self.name} is missing") if self.indicator else named

    def read(self, table: Table, unseen: Unseen) -> NDArray[np.float64]:
        """The numbers of rows, NaN where missing, shape (rows,).

        Raises:
            DataError: naming the first cell that is no number, or too large a one.
        """
        cells = table.columns[self.name]
        values, fault = numbers_of(cells, self.spelling, words=self._is_binary)
        if fault is not None:
            raise DataError(
                f"{table.name}: column {self.name!r} must hold finite numbers or nothing{self._must}; found "
                f"{fault.text!r} in row {table.rows[fault.row]}. {_advice(self.name, fault.text)}"
            )
        if not self.indicator and (gaps := int(np.isnan(values).sum())):
            unseen.gaps[self.name] += gaps
        far = np.abs(values - self.mean) > FAR * self.scale
        if far.any():
            unseen.far.setdefault(self.name, (f"{values[far][0]:g}", int(table.rows[int(far.argmax())])))
        return values

    @property
    def _is_binary(self) -> bool:
        """Whether all training rows had 0 or 1, which are truth values in another file.

        Only then is the variance m − m² for the mean m; where gaps were filled with 0.5 it is taken for so.
        """
        halves = self.indicator and self.fill == self.mean == 0.5
        spread = math.isclose(self.scale**2, self.mean - self.mean**2, rel_tol=1e-9)
        return self.spelling == PLAIN and (spread or halves)

    @property
    def _must(self) -> str:
        if self.spelling.truth:
            return " (true or false, 1 or 0)"
        return f" (as in training: {self.spelling.words})" if self.spelling != PLAIN else ""

    def features(self, values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """The features of rows, shape (rows,) each, of what `read` gave."""
        missing = np.isnan(values)
        filled = np.where(missing, self.fill, values)
        if not self.edges:
            yield (filled - self.mean) / self.scale
        for low, high in pairwise(self.edges):
            yield np.clip((filled - low) / (high - low), 0, 1)
        if self.indicator:
            yield missing.astype(np.float64)


class Category(Validated):
    """A column of categories: a feature for each, 1 where a row has it; an unknown category has none.

    A cell is the category of the same text; where there is none, the one that differs in spaces around it, in `.0`, or
    in the case of a truth value alone, if that is one.

    Attributes:
        name: of the column.
        categories: of the training rows, as text, in order.
        missing: whether the last feature is for rows without a value: where training rows are.
    """

    model_config = _STRICT

    kind: Literal["category"] = "category"
    name: str
    categories: tuple[str, ...] = Field(min_length=1)
    missing: bool

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One a category, and the one for missing values."""
        named = tuple(f"{self.name}={category}" for category in self.categories)
        return (*named, f"{self.name} is missing") if self.missing else named

    def read(self, table: Table, unseen: Unseen) -> NDArray[np.float64]:
        """The number of each row's category, shape (rows,); NaN where it has none, −1 where training rows lack it.

        Raises:
            DataError: if cells hold several values each.
        """
        texts = table.texts(self.name)
        codes = codes_of(texts, self.categories)
        unseen.note(self.name, texts, codes == UNKNOWN)
        if not self.missing and (gaps := int(np.isnan(codes).sum())):
            unseen.gaps[self.name] += gaps
        return codes

    def features(self, values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """The features of rows, shape (rows,) each, of what `read` gave."""
        for place in range(len(self.categories)):
            yield (values == place).astype(np.float64)
        if self.missing:
            yield np.isnan(values).astype(np.float64)


Column = Annotated[Number | Category, Field(discriminator="kind")]


class Preprocessing(Validated):
    """What the columns of a table become.

    Attributes:
        columns: those that are used, in the order of their features.
        left_out: those that never change in the training rows.
        missing: cells that say that a value is missing, beside those that always do.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": [20.0, 40.0, None], "town": ["Ulm", "Bern", "Ulm"]})
        >>> made = Preprocessing.fit(frame)
        >>> made.feature_names
        ('age', 'age is missing', 'town=Bern', 'town=Ulm')
        >>> made.transform(frame)[:, 1:].tolist()
        [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """

    model_config = _STRICT

    columns: tuple[Column, ...] = Field(min_length=1)
    left_out: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _only_what_is_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        return {name: value for name, value in told.items() if name != "missing" or value}

    @classmethod
    def fit(
        cls,
        rows: Table | pd.DataFrame,
        told: Mapping[str, ColumnKind] | None = None,
        missing: tuple[str, ...] = (),
        numeric_encoding: NumericEncoding | None = None,
    ) -> Preprocessing:
        """Find what the columns of training rows become; those that never change are left out.

        Args:
            rows: the training rows; of a table, in which `missing` was heeded when it was read.
            told: what columns are by their user's word, by name; the others are guessed.
            missing: cells that say that a value is missing, for later files.
            numeric_encoding: `piecewise_linear` for columns of numbers in bins between quantiles, of which those of two
                values have no need.

        Raises:
            ConfigError: if there is no column of a name in `told`.
            DataError: if no column is left, or one can be no feature: dates, cells of several values, numbers spelt in
                two ways or among other texts, too many categories.
        """
        table = Table.of(rows)
        decisions = decide(table, told or {})
        check_decided(table, decisions)
        used = {name: one for name, one in decisions.items() if one.kind != "ignore"}
        made = {
            name: _number(table, name, one.spelling, numeric_encoding)
            if one.kind == "number"
            else _category(table, name)
            for name, one in used.items()
        }
        columns = tuple(column for column in made.values() if column is not None)
        if not columns:
            raise DataError(
                f"{table.name}: a table needs a column that changes from row to row beside the target; found none."
            )
        left_out = tuple(name for name, column in made.items() if column is None)
        return cls(columns=columns, left_out=left_out, missing=missing)

    def read(self, rows: Table | pd.DataFrame, unseen: Unseen | None = None) -> NDArray[np.float64]:
        """The columns of rows as numbers, from which arithmetic alone makes the features: what exported networks take.

        Args:
            rows: columns are found by name, in any order; others are ignored.
            unseen: is told what the rows have that the training rows lacked.

        Returns:
            Shape (rows, columns): a number, NaN where it is missing; of a category its place among the column's, NaN
            where it is missing, −1 where training rows lack it.

        Raises:
            DataError: if a column is missing, or a cell is not what its column holds.
        """
        table, unseen = Table.of(rows), unseen or Unseen()
        if lacking := [column.name for column in self.columns if column.name not in table.columns]:
            raise DataError(
                f"{table.name}: the table must have all {len(self.columns)} columns that the training table had; "
                f"found no {listed(lacking)} among {table.columns_words}. Add or rename columns."
            )
        unseen.begin(len(table))
        return np.stack([column.read(table, unseen) for column in self.columns], axis=1)

    def features_of(self, numbers: NDArray[np.float64], table: Table) -> NDArray[np.float32]:
        """The features of rows.

        Args:
            numbers: as `read` gives them, shape (rows, columns).
            table: what was read, for messages.

        Returns:
            Shape (rows, features).

        Raises:
            DataError: if a number is so far from those of training that `float32` has it not.
        """
        made = np.empty((len(numbers), self.features), np.float32)
        place = 0
        with np.errstate(over="ignore"):
            for k, column in enumerate(self.columns):
                for feature in column.features(numbers[:, k]):
                    made[:, place] = feature
                    if not np.isfinite(made[:, place]).all():
                        row = int(np.isfinite(made[:, place]).argmin())
                        raise DataError(
                            f"{table.name}: column {column.name!r} must hold numbers like those of training; found "
                            f"{numbers[row, k]:g} in row {table.rows[row]}, too far from them to compute with. Correct "
                            "the cell."
                        )
                    place += 1
        return made

    def transform(self, rows: Table | pd.DataFrame, unseen: Unseen | None = None) -> NDArray[np.float32]:
        """The features of rows, shape (rows, features): `read`, then `features_of`."""
        table = Table.of(rows)
        return self.features_of(self.read(table, unseen), table)

    @property
    def identity(self) -> str:
        """What decides the features, as JSON: part of a data set's fingerprint.

        How truth values are spelt decides none, and older droplabs did not tell.
        """
        columns = tuple(
            one.model_copy(update={"spelling": PLAIN}) if isinstance(one, Number) and one.spelling.truth else one
            for one in self.columns
        )
        return self.model_copy(update={"columns": columns}).model_dump_json(exclude={"left_out"})

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def features(self) -> int:
        """How many features there are."""
        return len(self.feature_names)

    @property
    def summary(self) -> str:
        """What each column was taken for, in a line."""
        numbers = [
            f"{one.name} ({one.spelling.words})" if one.spelling.words else one.name
            for one in self.columns
            if isinstance(one, Number)
        ]
        categories = [f"{one.name} ({len(one.categories)})" for one in self.columns if isinstance(one, Category)]
        parts = (("numbers", numbers), ("categories", categories), ("left out, never changing", self.left_out))
        return "; ".join(f"{what}: {listed(names)}" for what, names in parts if names)

    @property
    def words(self) -> str:
        """What it does, in a sentence or two."""
        numbers = [column for column in self.columns if isinstance(column, Number)]
        categories = [column for column in self.columns if isinstance(column, Category)]
        parts = []
        if numbers:
            missing = sum(column.indicator for column in numbers)
            gaps = f", {missing} of them with missing values set to the median and marked by a second feature"
            binned = sum(bool(column.edges) for column in numbers)
            bins = f"; {binned} of them as shares of at most {BINS} bins between quantiles" if binned else ""
            parts.append(
                f"{len(numbers)} of numbers{gaps if missing else ''}, minus the mean, over the deviation{bins}"
            )
        if categories:
            parts.append(f"{len(categories)} of categories, a feature for each; one that training rows lack has none")
        if spelt := [f"{one.name} ({one.spelling.words})" for one in numbers if one.spelling.words]:
            parts.append(f"read as numbers: {listed(spelt)}")
        if self.missing:
            parts.append(f"taken for missing values: {listed([repr(mark) for mark in self.missing])}")
        if self.left_out:
            parts.append(f"left out, since they never change in the training rows: {listed(self.left_out)}")
        return (
            f"Columns: {'; '.join(parts)}. Fitted on the rows that are trained on; test and valid have no part in it."
        )


def _advice(column: str, text: str) -> str:
    """What to do about a cell that is no number of its column."""
    try:
        float(text)
    except ValueError:
        return f"Correct the cell, or leave it empty; if it stands for a missing value, fit with --missing {text!r}."
    return (
        "Numbers may be at most 3.4e38, and whole ones below 9007199254740992. Correct the cell; or, if the column "
        f"holds codes, fit with --columns {column}=category."
    )


def _number(table: Table, name: str, spelling: Spelling, encoding: NumericEncoding | None) -> Number | None:
    """What a column of numbers becomes; nothing where it never changes."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    column = Number(name=name, fill=0.0, mean=0.0, scale=1.0, indicator=False, spelling=spelling)
    values = column.read(table, Unseen())
    missing, present = np.isnan(values), values[~np.isnan(values)]
    different = np.unique(present)
    if not len(different) or (len(different) == 1 and not missing.any()):
        return None
    imputer = SimpleImputer(strategy="median").fit(values[:, None])
    scaler = StandardScaler().fit(imputer.transform(values[:, None]))
    fill, mean, scale = (float(found[0]) for found in (imputer.statistics_, scaler.mean_, scaler.scale_))
    edges = ()
    if encoding == "piecewise_linear" and len(different) > 2:
        few = len(different) <= BINS + 1
        edges = tuple((different if few else np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)))).tolist())
    found = {"fill": fill, "mean": mean, "scale": scale, "indicator": bool(missing.any())}
    return Number(name=name, spelling=spelling, edges=edges, **found)


def _category(table: Table, name: str) -> Category | None:
    """What a column of categories becomes; nothing where it never changes."""
    from sklearn.preprocessing import OneHotEncoder

    texts = table.texts(name)
    present = np.asarray(texts.drop_null().to_pylist(), object)
    missing = bool(texts.null_count)
    if not len(present) or (len(set(present)) == 1 and not missing):
        return None
    categories = tuple(OneHotEncoder().fit(present[:, None]).categories_[0].tolist())
    if len(categories) > MOST_CATEGORIES:
        raise DataError(
            f"{table.name}: column {name!r} must be numbers or at most {MOST_CATEGORIES:,} categories; found "
            f"{len(categories):,} texts, such as {categories[0]!r}. Leave the column out: --columns {name}=ignore."
        )
    return Category(name=name, categories=categories, missing=missing)
