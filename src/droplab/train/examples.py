"""The examples that networks are trained and evaluated on, as tensors: one copy or a mapped file, features as stored.

N examples, F features, R runs, B examples of a batch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.data.dataset import Dataset
from droplab.data.mapped import MappedArray, MappedFile, spilled
from droplab.data.splits import nested_order, train_valid_split
from droplab.errors import DataError
from droplab.train.outcome import Split

CHUNK = 1024
"""Examples evaluated at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """Examples of one split: rows of a feature table.

    What is a mapped file is read-only memory: whoever writes into it ends the process. It does not travel with the
    part; the process that receives it maps the file again.

    Attributes:
        features: shape (N, F), `uint8` or `float32`.
        labels: shape (N,), `int64`; of numbers `float64`, as they were given.
        rows: which rows of the two belong to the part, in order, shape (n,), `int64`.
        scale: what a stored feature is multiplied by.
        files: what those of the three are mapped from that are, by their names.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
    scale: float
    files: Mapping[str, MappedFile] = field(default_factory=dict)

    @classmethod
    def of(cls, x: NDArray[Any], y: NDArray[Any], rows: NDArray[np.int64], scale: float) -> Part:
        """The examples `rows` of `x` and `y`, which nothing must write to."""
        files = {"features": x.file} if isinstance(x, MappedArray) and x.file else {}
        return cls(wrapped(x), wrapped(y), wrapped(rows), scale, files)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | dict.fromkeys(self.files)

    def __setstate__(self, state: dict[str, Any]) -> None:
        files: dict[str, MappedFile] = state["files"]
        vars(self).update(state | {name: wrapped(file.map()) for name, file in files.items()})

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

    def with_rows(self, rows: Tensor) -> Part:
        """Other rows of the same table."""
        return replace(self, rows=rows, files={name: file for name, file in self.files.items() if name != "rows"})

    def first(self, count: int) -> Part:
        """The first `count` examples of the part."""
        return self.with_rows(self.rows[:count])

    def to(self, device: torch.device) -> Part:
        """The part on another device, where it is no mapped file any more."""
        return Part(self.features.to(device), self.labels.to(device), self.rows.to(device), self.scale)

    def share(self) -> Part:
        """The part in memory that worker processes can share, or where that is too small in files that they map.

        Raises:
            OSError: if there is no room for those either.
        """
        tensors = {name: getattr(self, name) for name in ("features", "labels", "rows") if name not in self.files}
        files = dict(self.files)
        for name, tensor in tensors.items():
            try:
                tensor.share_memory_()
            except RuntimeError:  # a container's /dev/shm has 64 MB
                for left in Path("/dev/shm").glob(f"torch_{os.getpid()}_*"):  # PyTorch leaves what it failed with
                    left.unlink(missing_ok=True)
                array = spilled(tensor.numpy())
                assert array.file is not None
                tensors[name], files[name] = wrapped(array), array.file
        return replace(self, files=files, **tensors)


@dataclass(frozen=True, eq=False)
class Examples:
    """The three splits, and the number of classes (1 where targets are numbers: the outputs that a network has).

    `train` and `valid` are rows of the same table.
    """

    train: Part
    valid: Part
    test: Part
    classes: int

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"valid": self.valid.files.get("rows", self.valid.rows)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rows: MappedFile | Tensor = state["valid"]
        rows = wrapped(rows.map()) if isinstance(rows, MappedFile) else rows
        vars(self).update(state | {"valid": state["train"].with_rows(rows)})

    @classmethod
    def of(cls, dataset: Dataset, valid_fraction: float, split_seed: int) -> Examples:
        """Split `dataset` as a study's settings say; with `valid_fraction` 0, valid is empty.

        Raises:
            DataError: as `split_rows`.
        """
        train_rows, valid_rows = split_rows(dataset, valid_fraction, split_seed)
        train = Part.of(dataset.train_x, dataset.train_y, train_rows, dataset.scale)
        valid = train.with_rows(torch.tensor(valid_rows))
        test = Part.of(dataset.test_x, dataset.test_y, np.arange(len(dataset.test_y)), dataset.scale)
        return cls(train, valid, test, len(dataset.classes) or 1)

    @property
    def features(self) -> int:
        """Features of an example."""
        return self.train.features.shape[1]

    def part(self, split: Split) -> Part:
        """The part of that name."""
        parts: dict[Split, Part] = {"train": self.train, "valid": self.valid, "test": self.test}
        return parts[split]

    def fewer(self, count: int, split_seed: int) -> Examples:
        """The same with only `count` training examples, some of each class as in all of them; of numbers any.

        Raises:
            DataError: if there are fewer, or too few for one of each class.
        """
        labels = self.train.labels[self.train.rows].cpu().numpy()
        classes = 1 if labels.dtype.kind == "f" else len(np.unique(labels))
        if not classes <= count <= len(labels):
            each = ", one a class," if classes > 1 else ""
            raise DataError(
                f"train_examples must lie between {classes}{each} and the {len(labels)} of the training part; "
                f"found {count}."
            )
        chosen = torch.from_numpy(nested_order(labels, split_seed)[:count]).to(self.train.rows.device)
        return replace(self, train=self.train.with_rows(self.train.rows[chosen]))

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device; train and valid keep sharing one table."""
        if device.type == "cpu":
            return self
        train = self.train.to(device)
        valid = train.with_rows(self.valid.rows.to(device))
        return Examples(train, valid, self.test.to(device), self.classes)

    def share(self) -> Examples:
        """The same examples where worker processes can share them; raises as `Part.share`."""
        train = self.train.share()
        return replace(self, train=train, valid=train.with_rows(self.valid.rows).share(), test=self.test.share())

    def check_files(self) -> None:
        """Raise `DataError` unless every mapped file is still what it was when it was loaded."""
        for file in self.files:
            file.check()

    @property
    def files(self) -> list[MappedFile]:
        """All that is mapped."""
        return [file for part in (self.train, self.test) for file in part.files.values()]


def split_rows(dataset: Dataset, valid_fraction: float, split_seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the training examples are trained on, and which are valid; none of these with `valid_fraction` 0.

    Where the data have a valid split of their own, that is valid, whatever the fraction.

    Raises:
        DataError: if the labels cannot be split class by class, or groups so that none is parted.
    """
    if not valid_fraction:
        return np.arange(len(dataset.train_y)), np.arange(0)
    if dataset.valid is not None:
        return np.flatnonzero(~dataset.valid), np.flatnonzero(dataset.valid)
    return train_valid_split(
        dataset.train_y, test_size=valid_fraction, random_state=split_seed, groups=dataset.train_groups
    )


def wrapped(array: NDArray[Any]) -> Tensor:
    """A tensor that nothing writes to over an array, without a copy where its rows lie one after another."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
