"""Which rows are held out for early stopping.

N rows.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from droplab.errors import DataError
from droplab.estimator.rows import Rows


def hold_out(rows: Rows, y: NDArray[np.integer] | None, share: float, seed: int) -> tuple[Rows, Rows]:
    """The rows to train on and those to stop by: of each class the same share, where there are enough for that.

    Where there are not, rows are drawn at random, and a warning says so; as far as they reach, one row of each class is
    trained on. Rows without weight are trained on: they could not say when to stop.

    Args:
        rows: all of them.
        y: the number of each row's class, shape (N,); `None` with several labels a row.
        share: of the rows, to hold out.
        seed: of the draw.

    Raises:
        DataError: if that leaves fewer than 2 rows to stop by, or none to train on.
    """
    has_weight = rows.weights.cpu().numpy() > 0
    numbers = np.flatnonzero(has_weight)
    held = int(np.ceil(share * len(numbers)))
    if not 2 <= held < len(numbers):
        raise DataError(
            f"The validation set is too small: early stopping needs at least 2 rows held out, and 1 to train on; found "
            f"{held} and {len(numbers) - held} with validation_fraction={share:g}. Change validation_fraction, or add "
            f"rows.{_of_classes(y, numbers, held)}"
        )
    if y is None or _suffices(y[numbers], held):
        train, valid = train_test_split(
            numbers, test_size=held, random_state=seed, stratify=None if y is None else y[numbers]
        )
    else:
        order = check_random_state(seed).permutation(numbers)
        _, one_of_each = np.unique(y[order], return_index=True)
        train, valid = np.split(np.concatenate([order[one_of_each], np.delete(order, one_of_each)]), [-held])
        untrained = len(set(y[valid]) - set(y[train]))
        rarest = np.unique(y[numbers], return_counts=True)[1].min()
        warnings.warn(
            f"early stopping cannot hold out the same share of each of {len(one_of_each)} classes: {held} of "
            f"{len(numbers)} rows are held out, and the rarest class has {rarest}. They were drawn at random; "
            f"{untrained or 'no'} classes are left without a row to train on. Add rows of rare classes, or set "
            "early_stopping=False.",
            UserWarning,
            stacklevel=3,
        )
    return rows.only(np.concatenate([train, np.flatnonzero(~has_weight)])), rows.only(valid)


def _of_classes(y: NDArray[np.integer] | None, numbers: NDArray[np.integer], held: int) -> str:
    """What scikit-learn says where it cannot hold out the same share of each class, in its words for classes."""
    try:
        train_test_split(numbers, test_size=max(held, 1), stratify=None if y is None else y[numbers].astype(str))
    except ValueError as fault:
        return f" {fault}"
    return ""


def _suffices(y: NDArray[np.integer], held: int) -> bool:
    """Whether each class has rows for both parts, and each part has room for all classes."""
    sizes = np.unique(y, return_counts=True)[1]
    return bool(sizes.min() > 1 and len(sizes) <= min(held, len(y) - held))
