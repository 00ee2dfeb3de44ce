"""What labels settle: the classes, what the outputs of the networks are, and what they should say of each row.

N rows, O outputs, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels

from droplab.errors import ConfigError, DataError
from droplab.model.losses import Loss, Output


def check_cells(y: Any, name: str = "y") -> None:
    """Refuse labels that are missing, or objects other than text, before anything tries to sort them.

    Raises:
        DataError: naming the first row of them.
    """
    if y is None or sparse.issparse(y):
        return
    dtype = getattr(y, "dtype", None)
    cells = np.asarray(y) if isinstance(dtype, np.dtype) else np.asarray(y, dtype=object)
    missing = np.asarray(pd.isna(cells))
    if missing.any():
        raise DataError(
            f"{name} must have a label in every row; found none in row {np.argwhere(missing)[0, 0]} (the first is 0). "
            "Fill it in, or leave such rows out."
        )
    odd = np.array([not isinstance(cell, str) for cell in cells.flat] if cells.dtype == object else [], dtype=bool)
    if odd.any() and (dtype == np.dtype(object) or not odd.all()):
        first = int(odd.argmax())
        raise DataError(
            f"Unknown label type: {name} must be text throughout, or numbers or truth values of a dtype that says so; "
            f"found {cells.flat[first]!r} in row {first // (cells.size // len(cells))} (the first is 0). "
            "Convert it: y.astype(str), or y.astype(int)."
        )


def has_several(y: Any) -> bool:
    """Whether a row has several labels, each of them or not; else it has one class."""
    return bool(type_of_target(y).startswith("multilabel"))


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels that networks are trained for.

    Attributes:
        binarizer: between labels and outputs.
        several: as `has_several` says of `y`.
    """

    binarizer: LabelBinarizer
    several: bool

    @classmethod
    def of(cls, y: Any, classes: Any = None) -> Self:
        """What the first rows' labels settle.

        Args:
            y: a class a row, shape (N,), or 0 and 1 for each label, shape (N, labels), perhaps sparse.
            classes: all that will ever come; those of `y` unless given.
        """
        several = has_several(y)
        return cls(LabelBinarizer().fit(y if several or classes is None else classes), several)

    @property
    def classes(self) -> NDArray[Any]:
        """The classes, or the labels' numbers, shape (C,)."""
        return np.asarray(self.binarizer.classes_)

    @property
    def outputs(self) -> int:
        """O."""
        return 1 if not self.several and len(self.classes) == 2 else len(self.classes)

    @property
    def output(self) -> Output:
        """What the outputs are; of one class alone, that of softmax is 1 whatever the weights."""
        return "logistic" if self.several or len(self.classes) == 2 else "softmax"

    @property
    def loss(self) -> Loss:
        """Of no effect."""
        return "squared_error"

    @property
    def levels(self) -> tuple[float, ...]:
        """None."""
        return ()

    def numbers(self, y: Any) -> NDArray[Any]:
        """The number of each row's class, shape (N,); of `logistic` outputs 1 for what is true, else 0, shape (N, O).

        Raises:
            DataError: if a label is not among the classes, or rows have one where they had several.
        """
        several = has_several(y)
        if several != self.several or (several and y.shape[1] != len(self.classes)):
            ways = [f"0 and 1 for each of {count} labels" for count in (len(self.classes), y.shape[-1])]
            raise DataError(
                f"training goes on with labels as it began, {ways[0] if self.several else 'one class a row'}; found "
                f"{ways[1] if several else 'one class a row'}. Fit anew."
            )
        if unknown := set(unique_labels(y).tolist()) - set(self.classes.tolist()):
            raise DataError(f"y must be of the classes {self.classes.tolist()}; found {sorted(unknown)}.")
        softmax = self.output == "softmax"
        return np.searchsorted(self.classes, y) if softmax else np.asarray(self.binarizer.transform(y))

    def check_same(self, y: Any) -> None:
        """Whether `y` has the same classes.

        Raises:
            DataError: if it has not.
        """
        if not (self.several or has_several(y)) and (found := unique_labels(y)).tolist() != self.classes.tolist():
            raise DataError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes}, `y` has {found}. Fit anew."
            )
        self.numbers(y)

    def check_classes(self, classes: Any) -> None:
        """Whether these are the classes.

        Raises:
            ConfigError: if they are not.
        """
        if not np.array_equal(self.classes, unique_labels(classes)):
            raise ConfigError(
                f"classes must be those that labels are of, {self.classes.tolist()}; found "
                f"{np.asarray(classes).tolist()}."
            )

    def strata(self, y: Any) -> NDArray[np.integer] | None:
        """The number of each row's class, of two a truth value; `None` with several labels a row."""
        if self.several:
            return None
        return np.unique(y, return_inverse=True)[1].astype(bool if len(self.classes) == 2 else int)

    def said(self, outputs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Probabilities."""
        return np.asarray(softmax(outputs, axis=2) if self.output == "softmax" else expit(outputs))

    def told(self, outputs: NDArray[np.floating]) -> Any:
        """The labels that probabilities of shape (N, O) say, as `y` was given: sparse where it was."""
        if self.several:
            return self.binarizer.inverse_transform(outputs)
        return self.classes[outputs.argmax(axis=1) if self.output == "softmax" else (outputs[:, 0] > 0.5).astype(int)]
