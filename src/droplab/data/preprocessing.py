"""Preprocessing of tables: from columns of any kind to numbers, fitted on training rows and kept as plain data.

What each column becomes is found by scikit-learn's transformers; what they found is a description that JSON can hold,
and that NumPy alone carries out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from droplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 10  # columns that a message names
_MOSTLY = 0.5  # share of a column's texts that are numbers, from which on the others are slips

MOST_CATEGORIES = 1_000
"""Most categories of a column: one with more is an identifier or free text, or numbers that were read as text."""

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Number(BaseModel):
    """A column of numbers or truth values: missing ones become the median; then minus the mean, over the deviation.

    Attributes:
        name: of the column.
        fill: the median of the training rows that have a value.
        mean: of the training rows, filled.
        scale: their standard deviation.
        indicator: whether a second feature says that the value is missing: where training rows have missing values.
    """

    model_config = _STRICT

    kind: Literal["number"] = "number"
    name: str
    fill: float
    mean: float
    scale: float = Field(gt=0)
    indicator: bool

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One, or two with the indicator."""
        return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)

    def features(self, column: pd.Series[Any]) -> Iterator[NDArray[np.float64]]:
        """The features of rows, shape (rows,) each."""
        values = numbers_of(column, self.name)
        missing = np.isnan(values)
        yield (np.where(missing, self.fill, values) - self.mean) / self.scale
        if self.indicator:
            yield missing.astype(np.float64)

    def encode(self, column: pd.Series[Any]) -> NDArray[np.float64]:
        """The numbers of rows, NaN where missing, shape (rows,)."""
        return numbers_of(column, self.name)


class Category(BaseModel):
    """A column of categories: a feature for each, 1 where a row has it; an unknown category has none.

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

    def features(self, column: pd.Series[Any]) -> Iterator[NDArray[np.float64]]:
        """The features of rows, shape (rows,) each."""
        values = texts_of(column)
        for category in self.categories:
            yield (values == category).astype(np.float64)
        if self.missing:
            yield np.array([value is None for value in values], dtype=np.float64)

    def encode(self, column: pd.Series[Any]) -> NDArray[np.float64]:
        """The number of each row's category, shape (rows,); −1 where it has none."""
        numbers: dict[str | None, int] = {category: place for place, category in enumerate(self.categories)}
        if self.missing:
            numbers[None] = len(self.categories)
        return np.array([numbers.get(value, -1) for value in texts_of(column)], np.float64)


Column = Annotated[Number | Category, Field(discriminator="kind")]


class Preprocessing(BaseModel):
    """What the columns of a table become.

    Attributes:
        columns: those that are used, in the order of their features.
        left_out: those that never change in the training rows.

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

    @classmethod
    def fit(cls, frame: pd.DataFrame) -> Preprocessing:
        """Find what the columns of training rows become; those that never change are left out.

        Raises:
            DataError: if no column is left, or one has too many categories or infinite numbers.
        """
        made = {str(name): _fitted(frame[name], str(name)) for name in frame.columns}
        columns = tuple(column for column in made.values() if column is not None)
        if not columns:
            raise DataError("a table needs a column that changes from row to row beside the target; found none.")
        return cls(columns=columns, left_out=tuple(name for name, column in made.items() if column is None))

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """The features of rows.

        Args:
            frame: its columns are found by name, in any order; others are ignored.

        Returns:
            Shape (rows, features).

        Raises:
            DataError: if a column is missing, or has a text where numbers are meant.
        """
        self._check_columns(frame)
        made = np.empty((len(frame), self.features), np.float32)
        place = 0
        for column in self.columns:
            for feature in column.features(frame[column.name]):
                made[:, place] = feature
                place += 1
        return made

    def encode(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The columns of rows as numbers, from which arithmetic alone makes the features: what exported networks take.

        Args:
            frame: as that of `transform`.

        Returns:
            Shape (rows, columns): a number, NaN where it is missing; of a category its place among the column's, one
            more where it is missing and that is a feature, −1 where it has none.

        Raises:
            DataError: as `transform`.
        """
        self._check_columns(frame)
        return np.stack([column.encode(frame[column.name]) for column in self.columns], axis=1)

    def _check_columns(self, frame: pd.DataFrame) -> None:
        if lacking := [column.name for column in self.columns if column.name not in frame.columns]:
            raise DataError(
                f"the table must have the columns {', '.join(c.name for c in self.columns)}; found no "
                f"{', '.join(lacking)}. Add or rename columns."
            )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def features(self) -> int:
        """How many features there are."""
        return len(self.feature_names)

    @property
    def words(self) -> str:
        """What it does, in a sentence or two."""
        numbers = [column for column in self.columns if isinstance(column, Number)]
        categories = [column for column in self.columns if isinstance(column, Category)]
        parts = []
        if numbers:
            missing = sum(column.indicator for column in numbers)
            gaps = f", {missing} of them with missing values set to the median and marked by a second feature"
            parts.append(f"{len(numbers)} of numbers{gaps if missing else ''}, minus the mean, over the deviation")
        if categories:
            parts.append(f"{len(categories)} of categories, a feature for each; one that training rows lack has none")
        if self.left_out:
            parts.append(f"left out, since they never change in the training rows: {listed(self.left_out)}")
        return (
            f"Columns: {'; '.join(parts)}. Fitted on the rows that are trained on; test and valid have no part in it."
        )


def listed(names: Sequence[str]) -> str:
    """The names of columns, the first of them if they are many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def numbers_of(column: pd.Series[Any], name: str) -> NDArray[np.float64]:
    """A column's values as numbers, NaN where missing.

    Raises:
        DataError: naming the first row that has none, or an infinite one.
    """
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    odd = np.isnan(values) & column.notna().to_numpy() | np.isinf(values)
    if odd.any():
        row = int(odd.argmax())
        raise DataError(
            f"column {name!r} must hold finite numbers or nothing; found {column.iloc[row]!r} in row "
            f"{column.index[row] + 1} of the data. Correct the value, or leave it empty."
        )
    return values


def texts_of(column: pd.Series[Any]) -> NDArray[np.object_]:
    """A column's values as text, `None` where missing."""
    return np.array(
        [None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)], object
    )


def _fitted(column: pd.Series[Any], name: str) -> Number | Category | None:
    """What a column becomes; nothing where it never changes."""
    from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

    if infer_dtype(column).startswith(("date", "time")):
        raise DataError(f"column {name!r} must hold numbers or categories; found dates. Make numbers of them, as days.")
    missing = bool(column.isna().any())
    if not column.notna().any() or (column.nunique(dropna=True) == 1 and not missing):
        return None
    return (_number if is_numeric_dtype(column) or is_bool_dtype(column) else _category)(column, name, missing)


def _number(column: pd.Series[Any], name: str, missing: bool) -> Number:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    imputer = SimpleImputer(strategy="median").fit(values := numbers_of(column, name)[:, None])
    scaler = StandardScaler().fit(imputer.transform(values))
    fill, mean, scale = (float(found[0]) for found in (imputer.statistics_, scaler.mean_, scaler.scale_))
    return Number(name=name, fill=fill, mean=mean, scale=scale, indicator=missing)


def _category(column: pd.Series[Any], name: str, missing: bool) -> Category:
    import pandas as pd
    from sklearn.preprocessing import OneHotEncoder

    texts = texts_of(column)
    present = texts[[text is not None for text in texts]]
    if pd.to_numeric(pd.Series(present), errors="coerce").notna().mean() >= _MOSTLY:
        numbers_of(column, name)  # which says what is odd
    categories = tuple(OneHotEncoder().fit(present[:, None]).categories_[0].tolist())
    if len(categories) > MOST_CATEGORIES:
        raise DataError(
            f"column {name!r} must be numbers or at most {MOST_CATEGORIES:,} categories; found {len(categories):,} "
            f"texts, such as {categories[0]!r}. Leave the column out, or make numbers of it."
        )
    return Category(name=name, categories=categories, missing=missing)
