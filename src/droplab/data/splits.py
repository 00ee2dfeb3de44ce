"""Splits in two parts, stratified where targets are classes, by example or by whole groups of them."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from droplab.errors import ConfigError, DataError

_FOLDS = 10  # so many are enough for shares that people write; smaller shares take more
_FEWEST = 4  # examples with numbers as targets that a split is of any use for
_MOST_FOLDS = 100  # dividing groups among folds takes time by groups × folds


def nested_order(labels: ArrayLike, split_seed: int) -> NDArray[np.int64]:
    """An order of examples whose every beginning has about the share of each class that all of them have.

    Args:
        labels: the class of each example, shape (examples,); of numbers (`float64`) the order is random.
        split_seed: which of the possible orders.

    Returns:
        Positions, shape (examples,): each once.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1])
        >>> [int((labels[nested_order(labels, 1)[:count]] == 0).sum()) for count in (3, 6)]
        [2, 4]
    """
    y = _strata(np.asarray(labels))
    shuffled = np.random.default_rng(split_seed).permutation(len(y))
    place = np.empty(len(y))
    for one in np.unique(y):
        mine = shuffled[y[shuffled] == one]
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.lexsort((np.argsort(shuffled), place)).astype(np.int64)


def train_valid_split(
    labels: ArrayLike, *, test_size: float = 1 / 6, random_state: int = 1, groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split examples so that each class has the same share in both parts; exactly scikit-learn's `train_test_split`.

    With groups, each is in one part as a whole, and the shares are about these: some of the folds of scikit-learn's
    `StratifiedGroupKFold`. Numbers (`float64`) are not stratified.

    Args:
        labels: the class of each example, or the number that is its target, shape (examples,).
        test_size: share of the examples that goes to valid, in (0, 1).
        random_state: which of the possible splits.
        groups: the group of each example, shape (examples,).

    Returns:
        Indices of the train and of the valid examples, in scikit-learn's order.

    Raises:
        ConfigError: if `test_size` is out of range.
        DataError: if the labels have one class, as many classes as examples, a class with one member, or too few
            examples for each class to be in both parts; if groups cannot be parted so that each class is in both.

    Example:
        >>> train, valid = train_valid_split([0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1])
        >>> len(train), len(valid)
        (10, 2)
    """
    from sklearn.model_selection import train_test_split

    y = np.asarray(labels)
    if not 0 < test_size < 1:
        raise ConfigError(f"the valid share must lie between 0 and 1; found {test_size}. Choose e.g. 1/6.")
    if y.ndim != 1 or not len(y):
        raise DataError(f"labels must be one a example, shape (examples,); found shape {y.shape}. Reshape them.")
    if y.dtype.kind == "f":
        return _of_numbers(y, groups, test_size, random_state)
    classes, members = np.unique(y, return_counts=True)
    if len(classes) == 1:
        raise DataError(f"labels must have at least 2 classes; found only {classes[0]}. Add examples of another class.")
    if len(classes) == len(y):
        raise DataError(
            f"labels must be classes; found as many classes as examples ({len(y)}). Are they identifiers or measured "
            "values? Name the column that holds the class."
        )
    if members.min() < 2:
        raise DataError(
            f"each class must have at least 2 members for a stratified split; found 1 of class "
            f"{classes[members.argmin()]}. Add examples of it, or leave it out."
        )
    if groups is not None:
        return _by_group(y, groups, test_size, random_state)
    valid = math.ceil(test_size * len(y))
    if min(valid, len(y) - valid) < len(classes):
        raise DataError(
            f"train and valid must each have at least one example a class ({len(classes)}); found {len(y) - valid} "
            f"and {valid} examples. Change the valid share ({test_size:g}), or add examples."
        )
    train_indices, valid_indices = train_test_split(
        np.arange(len(y)), test_size=test_size, stratify=y, random_state=random_state
    )
    return train_indices, valid_indices


def _of_numbers(
    y: NDArray[np.floating], groups: NDArray[np.int64] | None, test_size: float, random_state: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A split of examples whose targets are numbers; what has one or two examples cannot be split to any purpose."""
    from sklearn.model_selection import train_test_split

    if len(y) < _FEWEST:
        raise DataError(f"a split needs {_FEWEST} examples or more; found {len(y)}. Add examples.")
    if groups is not None:
        return _by_group(_strata(y), groups, test_size, random_state)
    train_indices, valid_indices = train_test_split(np.arange(len(y)), test_size=test_size, random_state=random_state)
    return train_indices, valid_indices


def _strata(y: NDArray[Any]) -> NDArray[Any]:
    """The stratum of each example: its class; numbers are all of one."""
    return np.zeros(len(y), np.int64) if y.dtype.kind == "f" else y


def _by_group(
    y: NDArray[np.generic], groups: NDArray[np.int64], test_size: float, random_state: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Some folds of a stratified division of whole groups, so many that they have about `test_size` of the examples."""
    from sklearn.model_selection import StratifiedGroupKFold

    classes, members = np.unique(y, return_counts=True)
    there = len(np.unique(groups))
    wanted = max(_FOLDS, min(_MOST_FOLDS, math.ceil(1 / min(test_size, 1 - test_size))))
    most = min(there, int(members.max()), wanted)
    if most < 2:
        raise DataError(f"a split by groups needs at least 2 groups; found {there}. Name a column with more values.")
    share = Fraction(test_size).limit_denominator(most)
    share = min(max(share, Fraction(1, most)), Fraction(most - 1, most))
    folds = StratifiedGroupKFold(share.denominator, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # whether each class is in both is seen below
        parts = [chosen for _, chosen in folds.split(y, y, groups)]
    valid = np.sort(np.concatenate(parts[: share.numerator]))
    train = np.setdiff1d(np.arange(len(y)), valid)
    for part, other in ((train, valid), (valid, train)):
        for lacking in np.setdiff1d(classes, y[part]):
            raise DataError(
                f"each class must be on both sides of a split that parts no group; found class {lacking} on one side "
                f"only, its examples in {len(np.unique(groups[other][y[other] == lacking]))} of {there} groups. Add "
                f"groups of it, or change the share ({test_size:g})."
            )
    return train, valid
