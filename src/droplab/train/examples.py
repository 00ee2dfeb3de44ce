"""The examples that networks are trained and evaluated on, as tensors: one copy or a mapped file, features as stored.

N examples, F features, R runs, B examples of a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.data.dataset import Dataset
from droplab.data.mapped import MappedArray, MappedFile
from droplab.data.splits import nested_order, train_valid_split
from droplab.errors import DataError
from droplab.train.outcome import Split

CHUNK = 1024
"""Examples evaluated at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """Examples of one split: rows of a feature table.

    Features that are a mapped file are read-only memory: whoever writes into them ends the process. They do not travel
    with the part; the process that receives it maps the file again.

    Attributes:
        features: shape (N, F), `uint8` or `float32`.
        labels: shape (N,), `int64`.
        rows: which rows of the two belong to the part, in order, shape (n,), `int64`.
        scale: what a stored feature is multiplied by.
        file: what `features` is mapped from, if it is.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
    scale: float
    file: MappedFile | None = None

    @classmethod
    def of(cls, x: NDArray[Any], y: NDArray[np.int64], rows: NDArray[np.int64], scale: float) -> Part:
        """The examples `rows` of `x` and `y`; `x` is copied unless it is mapped."""
        file = x.file if isinstance(x, MappedArray) else None
        features = torch.tensor(x) if file is None else _wrapped(x)
        return cls(features, torch.tensor(y), torch.tensor(rows), scale, file)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | ({"features": None} if self.file else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        file: MappedFile | None = state["file"]
        vars(self).update(state | ({"features": _wrapped(file.map())} if file else {}))

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        """Features and labels, copied; of a mapped file only the rows picked are touched.

        Args:
            picked: positions in this part, shape (R, B), `int64`.

        Returns:
            Features as stored, not scaled, of shape (R, B, F), and labels of shape (R, B).
        """
        rows = self.rows[picked]
        features = self.features.index_select(0, rows.view(-1))
        return features.view(*rows.shape, -1), self.labels[rows]

    def chunks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The part in order, `CHUNK` at a time: (first position, features as stored (1, B, F), labels (1, B))."""
        for start in range(0, len(self), CHUNK):
            picked = torch.arange(start, min(start + CHUNK, len(self)), device=self.rows.device)
            yield start, *self.batch(picked[None])

    def first(self, count: int) -> Part:
        """The first `count` examples of the part."""
        return replace(self, rows=self.rows[:count])

    def to(self, device: torch.device) -> Part:
        """The part on another device, where it is no mapped file any more."""
        return Part(self.features.to(device), self.labels.to(device), self.rows.to(device), self.scale)

    def share(self) -> Part:
        """The part in memory that worker processes can share; a mapped file is that already."""
        for tensor in (self.labels, self.rows) if self.file else (self.features, self.labels, self.rows):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True, eq=False)
class Examples:
    """The three splits, and the number of classes. `train` and `valid` are rows of the same table."""

    train: Part
    valid: Part
    test: Part
    classes: int

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"valid": self.valid.rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"valid": replace(state["train"], rows=state["valid"])})

    @classmethod
    def of(cls, dataset: Dataset, valid_fraction: float, split_seed: int) -> Examples:
        """Split `dataset` as a study's settings say; with `valid_fraction` 0, valid is empty.

        Where the data have a valid split of their own, that is valid, whatever the fraction.

        Raises:
            DataError: if the labels cannot be split class by class, or groups so that none is parted.
        """
        train_rows, valid_rows = np.arange(len(dataset.train_y)), np.arange(0)
        if valid_fraction and dataset.valid is not None:
            train_rows, valid_rows = np.flatnonzero(~dataset.valid), np.flatnonzero(dataset.valid)
        elif valid_fraction:
            train_rows, valid_rows = train_valid_split(
                dataset.train_y, test_size=valid_fraction, random_state=split_seed, groups=dataset.train_groups
            )
        train = Part.of(dataset.train_x, dataset.train_y, train_rows, dataset.scale)
        valid = replace(train, rows=torch.tensor(valid_rows))
        test = Part.of(dataset.test_x, dataset.test_y, np.arange(len(dataset.test_y)), dataset.scale)
        return cls(train, valid, test, len(dataset.classes))

    @property
    def features(self) -> int:
        """Features of an example."""
        return self.train.features.shape[1]

    def part(self, split: Split) -> Part:
        """The part of that name."""
        parts: dict[Split, Part] = {"train": self.train, "valid": self.valid, "test": self.test}
        return parts[split]

    def fewer(self, count: int, split_seed: int) -> Examples:
        """The same with only `count` training examples, some of each class as in all of them.

        Raises:
            DataError: if there are fewer, or too few for one of each class.
        """
        labels = self.train.labels[self.train.rows].cpu().numpy()
        classes = len(np.unique(labels))
        if not classes <= count <= len(labels):
            raise DataError(
                f"train_examples must lie between {classes}, one a class, and the {len(labels)} of the training part; "
                f"found {count}."
            )
        chosen = torch.from_numpy(nested_order(labels, split_seed)[:count]).to(self.train.rows.device)
        return replace(self, train=replace(self.train, rows=self.train.rows[chosen]))

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device; train and valid keep sharing one table."""
        if device.type == "cpu":
            return self
        train = self.train.to(device)
        valid = replace(train, rows=self.valid.rows.to(device))
        return Examples(train, valid, self.test.to(device), self.classes)

    def share(self) -> Examples:
        """The same examples in memory that worker processes can share."""
        for part in (self.train, self.valid, self.test):
            part.share()
        return self

    def check_files(self) -> None:
        """Raise `DataError` unless every mapped file is still what it was when it was loaded."""
        for part in (self.train, self.test):
            if part.file:
                part.file.check()


def _wrapped(array: NDArray[Any]) -> Tensor:
    """A tensor over a mapped array, without a copy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
        return torch.from_numpy(array)
