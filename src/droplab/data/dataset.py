"""A labelled data set as droplab keeps it: features as stored, labels, classes, fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from droplab.data.cells import TEXT, codes_of
from droplab.data.look import Look, look_at
from droplab.data.mapped import row_chunks
from droplab.data.preprocessing import Preprocessing
from droplab.data.tables import listed
from droplab.errors import DataError

_MOST_BORDERS = 500  # images whose borders are looked at


@dataclass(frozen=True)
class DatasetCard:
    """What a report says of a data set, whose examples need not be at hand any more.

    Attributes:
        name: the data set's.
        fingerprint: the data set's.
        source: where the bytes came from, in words.
        classes: the name of each class; empty where targets are numbers.
        train_examples: how many there are, those held out for validation among them.
        test_examples: how many there are.
        look: what a first look found; `None` where an older droplab kept the data set.
    """

    name: str
    fingerprint: str
    source: str
    classes: tuple[str, ...]
    train_examples: int
    test_examples: int
    look: Look | None = None

    @property
    def outputs(self) -> int:
        """How many a network for it has: one a class, or one number."""
        return len(self.classes) or 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train and test examples with their labels, or with numbers as their targets.

    Attributes:
        name: how the data set is called in tables and file names.
        train_x: features, shape (train examples, features), `uint8` as stored or `float32`; may be a mapped file.
        train_y: classes 0 … len(classes) − 1, shape (train examples,), `int64`; where there are no classes, the
            targets are numbers, `float64`, in the unit they were given in.
        test_x: features, shape (test examples, features), the dtype of `train_x`.
        test_y: shape (test examples,), likewise.
        classes: the name of each class; empty where targets are numbers.
        scale: what a stored feature is multiplied by where batches are made (1/255 for bytes of an image).
        image_shape: (rows, columns) where the features are a grey image, (rows, columns, 3) where they are one in
            colour, else `None`.
        source: where the bytes came from, in words.
        preprocessing: what made the features of a table's columns.
        train_groups: the group of each training example, shape (train examples,), which valid is not to part;
            `None` where there are none.
        places: how messages call each training and each test example, shape (examples,) each: its row in the file
            (from 1), or its own file; `None` where the examples lie in the file in this order.
        findings: what was found where it was read, for the first look.
        valid: which training examples are what is held out for validation, shape (train examples,); `None` where that
            is a share of them, found by chance.

    Raises:
        DataError: if shapes, dtypes or labels contradict each other, or a feature is not finite.
    """

    name: str
    train_x: NDArray[Any]
    train_y: NDArray[Any]
    test_x: NDArray[Any]
    test_y: NDArray[Any]
    classes: tuple[str, ...]
    scale: float = 1.0
    image_shape: tuple[int, ...] | None = None
    source: str = ""
    preprocessing: Preprocessing | None = None
    train_groups: NDArray[np.int64] | None = None
    places: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None)
    findings: tuple[str, ...] = ()
    valid: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.name != self.name.encode(errors="replace").decode():  # a file name may be no UTF-8
            raise DataError(f"a data set's name must be Unicode text; found {self.name!r}. Rename the file.")
        splits = (("train", self.train_x, self.train_y), ("test", self.test_x, self.test_y))
        for (split, x, y), places in zip(splits, self.places, strict=True):
            _check_split(self.name, split, x, y, len(self.classes))
            if x.dtype == np.float32 and (place := first_not_finite(x)):
                row, column = place
                where = f"row {row}" if places is None else f"example {places[row]}"
                raise DataError(
                    f"{self.name}: features must be finite; found {x[row, column]} in {split} {where}, column "
                    f"{column}. Remove or replace such values first."
                )
        if self.train_x.shape[1] != self.test_x.shape[1] or self.train_x.dtype != self.test_x.dtype:
            raise DataError(
                f"{self.name}: train and test must have the same features; found {self.train_x.shape[1]} × "
                f"{self.train_x.dtype} and {self.test_x.shape[1]} × {self.test_x.dtype}."
            )
        if self.valid is not None and (self.valid.shape != self.train_y.shape or len(np.unique(self.valid)) < 2):
            raise DataError(
                f"{self.name}: valid must say of each of {len(self.train_y)} training examples whether it is held out, "
                f"and be neither all nor none; found {int(self.valid.sum())} of {self.valid.size}."
            )

    @property
    def is_of_numbers(self) -> bool:
        """Whether targets are numbers, and not classes."""
        return not self.classes

    @property
    def target_words(self) -> str:
        """What its targets are."""
        if self.classes:
            return f"{len(self.classes):,} classes: {self.look.counts(self.classes)}"
        return f"targets are numbers, {self.train_y.min():g} … {self.train_y.max():g} in train"

    @property
    def features(self) -> int:
        """Number of features of an example."""
        return int(self.train_x.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that a network is trained on and told: features, labels, dtypes, shapes, scale, names."""
        digest = hashlib.sha256(json.dumps([self.scale, self.classes]).encode())
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            digest.update(f"|{array.dtype.str}{array.shape}|".encode())
            for _, rows in row_chunks(array):
                digest.update(np.ascontiguousarray(rows).data)
        if self.preprocessing is not None:  # a network is kept with it, and finds columns by their names
            digest.update(self.preprocessing.identity.encode())
        if self.train_groups is not None:  # they decide what is held out
            digest.update(np.ascontiguousarray(self.train_groups).data)
        if self.valid is not None:  # and so does this
            digest.update(b"|valid|" + self.valid.tobytes())
        return digest.hexdigest()

    @cached_property
    def background(self) -> int | None:
        """What lies behind what grey images show, 0 (black) … 255: the median of the borders of some for training."""
        if self.image_shape is None or len(self.image_shape) != 2:
            return None
        some = np.asarray(self.train_x[:: math.ceil(len(self.train_x) / _MOST_BORDERS)]).reshape(-1, *self.image_shape)
        inner = np.zeros(self.image_shape, bool)
        inner[1:-1, 1:-1] = True
        level = 255 * self.scale * float(np.median(some[:, ~inner]))
        return round(level) if 0 <= level <= 255 else None

    def only(self, rows: NDArray[np.int64]) -> Dataset:
        """The data set with some of its training examples, by their places, in order; none is a valid split of its own.

        Those of test stay.
        """
        places = np.arange(1, len(self.train_y) + 1) if self.places[0] is None else self.places[0]
        return replace(
            self,
            train_x=self.train_x[np.sort(rows)],
            train_y=self.train_y[np.sort(rows)],
            train_groups=None if self.train_groups is None else self.train_groups[np.sort(rows)],
            places=(places[np.sort(rows)], self.places[1]),
            valid=None,
        )

    @property
    def card(self) -> DatasetCard:
        """What a report says of it."""
        sizes = (len(self.train_y), len(self.test_y))
        return DatasetCard(self.name, self.fingerprint, self.source, self.classes, *sizes, self.look)

    def test_labels(self, classes: tuple[str, ...]) -> NDArray[np.int64]:
        """The class of each test example among classes of these names, shape (test examples,).

        Raises:
            DataError: if an example's is none of them.
        """
        if self.is_of_numbers:
            raise DataError(f"{self.name}: targets must be the classes {listed(classes)}; found numbers.")
        codes: NDArray[np.integer] = codes_of(pa.array(self.classes, TEXT), classes)[self.test_y]
        if (codes < 0).any():
            row = int((codes < 0).argmax())
            raise DataError(
                f"{self.name}: test examples must be of the classes {listed(classes)}; found "
                f"{self.classes[self.test_y[row]]!r} in {self.call_test(row)}. Leave such examples out."
            )
        return codes.astype(np.int64)

    def call_test(self, row: int) -> str:
        """How messages call a test example, by its place, from 0."""
        return self.call(1, row)

    def call(self, split: int, row: int) -> str:
        """How messages call an example of train (0) or test (1): its row in the file, counted from 1, or its file."""
        places = self.places[split]
        place = row + 1 if places is None else places[row]
        return str(place) if isinstance(place, str) else f"row {place}"

    @cached_property
    def look(self) -> Look:
        """What a first look finds."""
        return look_at(self)


def first_not_finite(x: NDArray[Any]) -> tuple[int, ...] | None:
    """Where the first infinite number or NaN of an array is; looked for in chunks, so that memory stays flat."""
    for start, rows in row_chunks(x):
        finite = np.isfinite(rows)
        if not finite.all():
            row, *rest = (int(i) for i in np.argwhere(~finite)[0])
            return (start + row, *rest)
    return None


def _check_split(name: str, split: str, x: NDArray[Any], y: NDArray[Any], classes: int) -> None:
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(
            f"{name}: {split} features must be (examples, features) with at least one of each; found shape {x.shape}."
        )
    if x.dtype not in (np.uint8, np.float32):
        raise DataError(f"{name}: {split} features must be uint8 or float32; found {x.dtype}.")
    if not classes:
        if y.dtype != np.float64 or y.shape != (len(x),) or not np.isfinite(y).all():
            raise DataError(
                f"{name}: {split} targets must be finite float64, one an example ({len(x)}); found {y.dtype} of shape "
                f"{y.shape}."
            )
        return
    if y.dtype != np.int64 or y.shape != (len(x),):
        raise DataError(
            f"{name}: {split} labels must be int64, one an example ({len(x)}); found {y.dtype} of shape {y.shape}."
        )
    if classes < 2:
        raise DataError(f"{name}: a classifier needs at least 2 classes; found {classes}.")
    if y.min() < 0 or y.max() >= classes:
        raise DataError(f"{name}: {split} labels must lie in 0 … {classes - 1}; found {y.min()} … {y.max()}.")
