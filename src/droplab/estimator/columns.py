"""Tables whose columns are no numbers, or are to be encoded: made features of as those of `droplab fit` are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_X_y, validate_data

from droplab.config import ColumnKind, NumericEncoding
from droplab.data.preprocessing import Preprocessing
from droplab.data.unseen import Unseen

_NUMBERS: dict[str, Any] = {"dtype": (np.float64, np.float32)}


class Columns(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator that makes features of columns."""

    numeric_encoding: NumericEncoding | None
    preprocessing_: Preprocessing | None

    def _validated(self, X: Any, *y: Any, reset: bool, y_numeric: bool = False) -> Any:
        """Features, with `y` targets, too, as scikit-learn checks them; columns go through `preprocessing_` if need be.

        That is fitted where `reset` says that these are the first rows. Later ones' columns are found by name where
        both have names; what they have that the first ones lacked is a warning.
        """
        X = as_pandas(X)
        if reset:
            self.preprocessing_ = None
        if not (has_categories(X) or self.numeric_encoding if reset else self.preprocessing_):
            several = {"multi_output": True, "y_numeric": y_numeric} if y else {}
            return validate_data(self, X, *y, accept_sparse=["csr", "csc"], reset=reset, **several, **_NUMBERS)
        by_name = reset or hasattr(self, "feature_names_in_") or has_categories(X)
        if by_name and isinstance(X, pd.DataFrame):
            frame = validate_data(self, X, skip_check_array=True) if reset else X
        else:
            least = 2 if reset else 1  # in one row no column changes
            gaps: dict[str, Any] = {"ensure_all_finite": "allow-nan", "ensure_min_samples": least}
            array = validate_data(self, X, reset=reset, **gaps, **_NUMBERS)
            frame = pd.DataFrame(array, columns=getattr(self, "feature_names_in_", None))
        if reset:
            self.preprocessing_ = preprocessing_of(frame, self.numeric_encoding)
        assert self.preprocessing_ is not None
        unseen = Unseen()
        features = self.preprocessing_.transform(frame, unseen)
        for words in unseen.words:
            warnings.warn(f"{words}.", UserWarning, stacklevel=4)
        how: dict[str, Any] = {"multi_output": True, "y_numeric": y_numeric, "dtype": np.float32, "estimator": self}
        return check_X_y(features, *y, **how) if y else check_array(features, dtype=np.float32, estimator=self)

    @property
    def _names(self) -> Sequence[str] | None:
        """Of the features, if they have any."""
        return self.preprocessing_.feature_names if self.preprocessing_ else getattr(self, "feature_names_in_", None)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.numeric_encoding is None
        tags.input_tags.allow_nan = self.numeric_encoding is not None
        return tags


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
