"""Tables whose columns are no numbers, or are to be encoded: made features of as those of `droplab fit` are."""

from __future__ import annotations

from typing import Any

import pandas as pd

from droplab.config import ColumnKind, NumericEncoding
from droplab.data.preprocessing import Preprocessing


def as_pandas(X: Any) -> Any:
    """DataFrames of polars and Arrow as pandas has them; everything else as it is."""
    return X.to_pandas() if hasattr(X, "to_pandas") else X


def has_categories(X: Any) -> bool:
    """Whether it is a DataFrame with columns of texts, objects or pandas' categories; truth values are numbers."""
    return isinstance(X, pd.DataFrame) and any(not pd.api.types.is_numeric_dtype(kind) for kind in X.dtypes)


def preprocessing_of(frame: pd.DataFrame, encoding: NumericEncoding | None) -> Preprocessing:
    """What the columns of training rows become; pandas' categories are categories, whatever they are of.

    Raises:
        DataError: as `Preprocessing.fit`.
    """
    told: dict[str, ColumnKind] = {
        str(name): "category" for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)
    }
    return Preprocessing.fit(frame, told, numeric_encoding=encoding)
