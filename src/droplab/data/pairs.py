"""Features and labels without a test part, in an npz file, or in an npy or IDX file each → Dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from droplab.config import Task
from droplab.data import idx, npy
from droplab.data.arrays import Labelled, held_out_of
from droplab.data.dataset import Dataset
from droplab.data.disk import open_regular
from droplab.errors import DataError

_SEPARATOR = ","


def is_pair(text: str) -> bool:
    """Whether a text names two files, `FEATURES,LABELS`, and no file with a comma in its name."""
    return text.count(_SEPARATOR) == 1 and all(text.split(_SEPARATOR)) and not os.path.lexists(text)


def pair_of(text: str) -> tuple[Path, Path]:
    """The file of the features, and that of the labels."""
    features, _, labels = text.partition(_SEPARATOR)
    return Path(features), Path(labels)


def load_pair(text: str, test: str | None, notify: Callable[[str], None], task: Task = "auto") -> Dataset:
    """Load a data set from two npy or IDX files, `FEATURES,LABELS`.

    Features that are read as they lie in their file stay mapped where `test` names two files of its own.

    Args:
        text: the two.
        test: two such files, or the share of the examples to test on.
        notify: told what is assumed.
        task: as that of `arrays.targets_of`.

    Raises:
        ConfigError: if `test` is no share.
        DataError: if a file is not what it must be.
    """
    return held_out_of(pair_of(text)[0], f"files {text}", _read(text), test, _read, notify, task)


def open_array(path: Path) -> NDArray[Any]:
    """The array of an npy or IDX file, mapped where it can be; which of the two it is, its first bytes say.

    Raises:
        DataError: if it is neither.
    """
    with open_regular(path) as handle:
        head = handle.read(len(npy.MAGIC))
    return npy.open_mapped(path) if head == npy.MAGIC else idx.open_mapped(path)


def _read(text: str) -> Labelled:
    if not is_pair(text):
        raise DataError(f"{text}: features and labels must be two files, written FEATURES,LABELS. Name both.")
    x, y = pair_of(text)
    return Labelled(open_array(x), open_array(y), (str(x), str(y)))
