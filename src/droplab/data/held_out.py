"""The test examples of data that have no test part of their own: elsewhere, or a share of what there is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from droplab.data.splits import train_valid_split
from droplab.errors import ConfigError

TEST_SHARE = 0.2
"""Share of the examples that are tested on where nothing else is asked for."""

_TEST_SPLIT_SEED = 0  # a study's split_seed varies train and valid; what it is tested on stays


def hold_out(
    where: str,
    labels: NDArray[np.generic],
    test: str | None,
    notify: Callable[[str], None],
    groups: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Which examples are trained on and which are tested on, in order; `None` where the latter lie elsewhere.

    Args:
        where: how messages call the data.
        labels: the class of each example, or the number that is its target (`float64`), shape (examples,).
        test: the share that is tested on, of each class alike; a path; `None` for `TEST_SHARE`.
        notify: told what is assumed.
        groups: the group of each example, which the split is not to part.

    Raises:
        ConfigError: if `test` is no share.
        DataError: if the examples cannot be split so, as `train_valid_split` says.
    """
    share = share_of(test)
    if share is None:
        return None
    if test is None:
        by = "at random" if labels.dtype.kind == "f" else "by class"
        by += "" if groups is None else ", in whole groups"
        notify(f"{where}: {share:.0%} of the examples are the test split, {by}; --test says otherwise")
    train, held = train_valid_split(labels, test_size=share, random_state=_TEST_SPLIT_SEED, groups=groups)
    return np.sort(train), np.sort(held)


def share_of(test: str | None) -> float | None:
    """The share that `test` asks for; `None` where it is a path.

    Raises:
        ConfigError: if it is a number that is no share.
    """
    if test is None:
        return TEST_SHARE
    try:
        share = float(test)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise ConfigError(f"test must be a path, or a share of the examples between 0 and 1; found {test}.")
    return share
