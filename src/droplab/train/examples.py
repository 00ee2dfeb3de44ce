"""The examples that networks are trained and evaluated on, as tensors: one copy, features as stored.

N examples, F features, R runs, B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from droplab.data.dataset import Dataset
from droplab.data.splits import train_valid_split
from droplab.train.outcome import Split

CHUNK = 1024
"""Examples evaluated at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """Examples of one split: rows of a feature table.

    Attributes:
        features: shape (N, F), `uint8` or `float32`.
        labels: shape (N,), `int64`.
        rows: which rows of the two belong to the part, in order, shape (n,), `int64`.
        scale: what a stored feature is multiplied by.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
    scale: float

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        """Features as stored, and labels.

        Args:
            picked: positions in this part, shape (R, B), `int64`.

        Returns:
            Features of shape (R, B, F) and labels of shape (R, B).
        """
        rows = self.rows[picked]
        features = self.features.index_select(0, rows.view(-1))
        return features.view(*rows.shape, -1), self.labels[rows]

    def chunks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The part in order, `CHUNK` examples at a time: (first position, features (1, B, F), labels (1, B))."""
        for start in range(0, len(self), CHUNK):
            picked = torch.arange(start, min(start + CHUNK, len(self)), device=self.rows.device)
            yield start, *self.batch(picked[None])

    def first(self, count: int) -> Part:
        """The first `count` examples of the part."""
        return Part(self.features, self.labels, self.rows[:count], self.scale)

    def to(self, device: torch.device) -> Part:
        """The part on another device."""
        return Part(self.features.to(device), self.labels.to(device), self.rows.to(device), self.scale)

    def share(self) -> Part:
        """The part in memory that worker processes can share."""
        for tensor in (self.features, self.labels, self.rows):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True, eq=False)
class Examples:
    """The three splits, and the number of classes. `train` and `valid` are rows of the same table."""

    train: Part
    valid: Part
    test: Part
    classes: int

    @classmethod
    def of(cls, dataset: Dataset, valid_fraction: float, split_seed: int) -> Examples:
        """Split `dataset` as a study's settings say.

        Raises:
            DataError: if the labels cannot be split class by class.
        """
        train_rows, valid_rows = train_valid_split(dataset.train_y, test_size=valid_fraction, random_state=split_seed)
        features, labels = torch.tensor(dataset.train_x), torch.tensor(dataset.train_y)
        test_y = torch.tensor(dataset.test_y)
        return cls(
            train=Part(features, labels, torch.tensor(train_rows), dataset.scale),
            valid=Part(features, labels, torch.tensor(valid_rows), dataset.scale),
            test=Part(torch.tensor(dataset.test_x), test_y, torch.arange(len(test_y)), dataset.scale),
            classes=len(dataset.classes),
        )

    @property
    def features(self) -> int:
        """Features of an example."""
        return self.train.features.shape[1]

    def part(self, split: Split) -> Part:
        """The part of that name."""
        parts: dict[Split, Part] = {"train": self.train, "valid": self.valid, "test": self.test}
        return parts[split]

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device; train and valid keep sharing one table."""
        if device.type == "cpu":
            return self
        train = self.train.to(device)
        valid = Part(train.features, train.labels, self.valid.rows.to(device), self.valid.scale)
        return Examples(train, valid, self.test.to(device), self.classes)

    def share(self) -> Examples:
        """The same examples in memory that worker processes can share."""
        for part in (self.train, self.valid, self.test):
            part.share()
        return self
