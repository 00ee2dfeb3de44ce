"""What the columns of a table give away, or hide: what someone should know before networks are trained on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.arrays import ROWS_A_CLASS
from droplab.data.columns import FEW
from droplab.data.look import alike
from droplab.data.preprocessing import Category, Column, Preprocessing

_SHARE = 0.5  # so many categories a row are identifiers, or a text by itself each
_FEWEST = 8  # rows, below which anything looks like a pattern


def look_at_columns(
    preprocessing: Preprocessing,
    numbers: NDArray[np.float64],
    labels: NDArray[Any],
    classes: Sequence[str],
    target: str,
) -> tuple[str, ...]:
    """Look at the training rows of a table.

    Args:
        preprocessing: what made the numbers.
        numbers: as `Preprocessing.read` gives them, in the order of the file, shape (rows, columns).
        labels: the class of each row, shape (rows,).
        classes: their names; none where the target is a number, of which columns tell nothing.
        target: the column of the classes.

    Returns:
        A sentence each: identifiers; columns that alone tell the class, or are the classes under other names; an index
        of rows that are sorted by class; classes or categories that differ in case or spaces alone; whole numbers as
        classes that look measured.
    """
    found = [*measured(classes, len(labels), target)]
    labels = labels if classes else np.zeros(len(labels), np.int64)
    for place, column in enumerate(preprocessing.columns):
        values = numbers[:, place]
        if isinstance(column, Category):
            found += alike(f"categories of {column.name!r}", column.categories)
        if len(labels) >= _FEWEST:
            found += _column(column, values, labels, len(classes), target)
    return tuple(found)


def _column(
    column: Column, values: NDArray[np.float64], labels: NDArray[np.int64], classes: int, target: str
) -> Iterator[str]:
    there = ~np.isnan(values)
    values, labels = values[there], labels[there]
    different, coded = np.unique(values, return_inverse=True)
    leave = f"leave it out if it is not known when the network is used: --columns {column.name}=ignore"
    category = isinstance(column, Category)
    sorted_by_class = bool((np.diff(labels) >= 0).all() or (np.diff(labels) <= 0).all())
    if len(different) == len(values) and (category or (values == np.floor(values)).all()):
        rises = bool((np.diff(values) > 0).all() or (np.diff(values) < 0).all())
        if not category and rises and sorted_by_class and classes > 1:
            yield (
                f"the rows are sorted by class, and column {column.name!r} counts them: it gives the class away; leave "
                f"it out: --columns {column.name}=ignore"
            )
            return
        yield (
            f"column {column.name!r} has another value in every row, as an identifier has, from which nothing can be "
            f"learnt for new rows: --columns {column.name}=ignore leaves it out"
        )
        return
    if category and len(different) > FEW and len(different) > _SHARE * len(values):
        yield (
            f"column {column.name!r} has {len(different):,} categories in {len(values):,} rows, a feature each: too "
            f"many to learn from; --columns {column.name}=ignore leaves it out, {column.name}=number reads numbers"
        )
        return
    pairs = np.unique(np.stack([coded, labels], axis=1), axis=0)
    if classes < 2 or len(np.unique(labels)) < 2:
        return
    if len(pairs) == len(different) == classes:
        yield f"column {column.name!r} is {target!r} under other names, so it alone tells the class; {leave}"
    elif len(pairs) == len(different) and len(different) <= _SHARE * len(values):
        yield f"column {column.name!r} alone tells the class: each of its values has one class only; {leave}"
    elif not category and _parted(values, labels) == classes:
        yield f"column {column.name!r} alone tells the class: each class has a range of its own; {leave}"


def _parted(values: NDArray[np.float64], labels: NDArray[np.int64]) -> int:
    """How many stretches of one class there are where rows are sorted by a column; equal values of two part none."""
    order = np.lexsort((labels, values))
    values, labels = values[order], labels[order]
    changes = labels[1:] != labels[:-1]
    torn = changes & (values[1:] == values[:-1])
    return len(labels) if torn.any() else int(changes.sum()) + 1


def measured(classes: Sequence[str], rows: int, target: str) -> Iterator[str]:
    """What is said of classes that look like measured values; arguments as those of `look_at_columns`."""
    whole = all(text.lstrip("-").removesuffix(".0").isdigit() for text in classes)
    if whole and len(classes) > FEW and rows < ROWS_A_CLASS * len(classes):
        yield (
            f"{target!r} has {len(classes)} different whole numbers in {rows:,} rows, each a class by itself: this "
            "looks like a regression: leave out --task classification, or make a few classes of the values"
        )
