"""A first look at a data set: what its examples are that someone should know before networks are trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.cells import group_of
from droplab.data.mapped import row_chunks

if TYPE_CHECKING:
    from droplab.data.dataset import Dataset

UNEVEN = 10
"""So many times as many examples of one class as of another are told."""

_NAMED = 5  # examples, classes or columns that a finding names
_MOST_CLASSES = 20  # whose counts are told one by one


@dataclass(frozen=True)
class Look:
    """What a first look found.

    Attributes:
        train: examples of each class, those held out for validation among them; of numbers one count of all.
        test: likewise.
        findings: a sentence each: examples of test that are in train, too (leakage), repeated ones, equal ones of
            different classes, uneven classes, classes that are not in both or whose names are nearly alike, columns
            that never change; of a table also what `table_look` finds in its columns.
        valid: those of each class in train that are the data's own valid split; empty where they have none.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    findings: tuple[str, ...]
    valid: tuple[int, ...] = ()

    def counts(self, classes: Sequence[str]) -> str:
        """How many examples there are of each class, in words; `classes` are their names."""
        if not classes:
            return ""
        held = self.valid or (0,) * len(self.train)
        parts = zip(classes, self.train, held, self.test, strict=True)
        told = [
            f"{name} {a - v:,} + {v:,} + {b:,}" if self.valid else f"{name} {a:,} + {b:,}" for name, a, v, b in parts
        ]
        more = f" and {len(told) - _MOST_CLASSES} classes more" if len(told) > _MOST_CLASSES else ""
        return f"{', '.join(told[:_MOST_CLASSES])}{more} ({'train + valid' if self.valid else 'train'} + test)"


def look_at(dataset: Dataset) -> Look:
    """Look at a data set; examples are equal where all their features are."""
    classes, numbers = len(dataset.classes), dataset.is_of_numbers
    train_y, test_y = (np.zeros(len(y), np.int64) if numbers else y for y in (dataset.train_y, dataset.test_y))
    train, test = (np.bincount(y, minlength=classes) for y in (train_y, test_y))
    valid = None if dataset.valid is None else np.bincount(train_y[dataset.valid], minlength=classes)
    classes_found = () if numbers else _classes(dataset.classes, train, test, valid)
    findings = [
        *_equal(dataset),
        *classes_found,
        *alike("classes", dataset.classes),
        *dataset.findings,
        *_constant(dataset),
    ]
    held = () if valid is None else tuple(map(int, valid))
    return Look(tuple(map(int, train)), tuple(map(int, test)), tuple(findings), held)


def alike(what: str, texts: Sequence[str]) -> Iterator[str]:
    """Texts that differ only in what is easily written otherwise: case, spaces, composed letters, 1 and 1.0.

    Args:
        what: they are, in words.
        texts: all of them.
    """
    same: dict[str, list[str]] = {}
    for text in sorted(texts):
        same.setdefault("".join(group_of(text).split()), []).append(text)
    for several in same.values():
        if len(several) > 1:
            yield (
                f"{what} differ in case, spaces or the like alone, and are taken for different ones: "
                f"{_listed([repr(text) for text in several[:_NAMED]], len(several))}"
            )


def _equal(dataset: Dataset) -> Iterator[str]:
    """Examples that are equal: across splits, within train, and with different classes."""
    train, test = _hashes(dataset.train_x), _hashes(dataset.test_x)
    values, first = np.unique(train, return_index=True)
    place = np.minimum(np.searchsorted(values, test), len(values) - 1)
    leaked = np.flatnonzero(values[place] == test)
    if len(leaked):
        pairs = [f"{dataset.call(1, i)} = {dataset.call(0, first[place[i]])}" for i in leaked[:_NAMED]]
        yield (
            f"leakage: {len(leaked):,} of the {len(test):,} test examples are equal to a training example in all their "
            f"features, which makes test results look better (test = train: {_listed(pairs, len(leaked))})"
        )
    repeats = np.setdiff1d(np.arange(len(train)), first)
    if len(repeats):
        earlier = first[np.searchsorted(values, train[repeats])]
        pairs = [
            f"{dataset.call(0, i)} = {dataset.call(0, k)}" for i, k in zip(repeats[:_NAMED], earlier, strict=False)
        ]
        yield (
            f"{len(repeats):,} of the {len(train):,} training examples repeat an earlier one, which may put one "
            f"example in train and in valid ({_listed(pairs, len(repeats))})"
        )
        torn = np.flatnonzero(dataset.train_y[repeats] != dataset.train_y[earlier])
        if len(torn) and dataset.classes:
            i, k = repeats[torn[0]], earlier[torn[0]]
            a, b = (dataset.classes[dataset.train_y[row]] for row in (k, i))
            yield (
                f"{len(torn):,} training examples are equal to one of another class, and no network can get both right "
                f"(the first: {dataset.call(0, k)} is {a}, {dataset.call(0, i)} is {b})"
            )


def _hashes(x: NDArray[Any]) -> NDArray[np.uint64]:
    """A number of 64 bits for each example; that two different ones of a million share one has odds of 1 to 10⁷."""
    parts = []
    for _, rows in row_chunks(x):
        digests = [hashlib.blake2b(row.data, digest_size=8).digest() for row in np.ascontiguousarray(rows)]
        parts.append(np.frombuffer(b"".join(digests), np.uint64))
    return np.concatenate(parts)


def _listed(named: Sequence[str], count: int) -> str:
    return ", ".join(named) + (f" and {count - len(named):,} more" if count > len(named) else "")


def _classes(
    names: Sequence[str], train: NDArray[np.int64], test: NDArray[np.int64], valid: NDArray[np.int64] | None
) -> Iterator[str]:
    """Classes that are not in all splits, and uneven ones."""
    learned = train if valid is None else train - valid
    pairs = [
        (test, learned, "test and not in train", "which no network can learn"),
        (learned, test, "train and not in test", "of which nothing is found out"),
    ]
    if valid is not None:
        pairs += [
            (valid, learned, "valid and not in train", "which no network can learn while valid is held out"),
            (learned, valid, "train and not in valid", "which nothing is chosen by"),
        ]
    for there, lacking, where, words in pairs:
        only = [names[int(k)] for k in np.flatnonzero((there > 0) & (lacking == 0))]
        if only:
            yield f"classes in {where}, {words}: {_listed(only[:_NAMED], len(only))} ({len(only)} of {len(names)})"
    some = np.flatnonzero(train)
    most, least = int(some[train[some].argmax()]), int(some[train[some].argmin()])
    if train[most] >= UNEVEN * train[least]:
        yield (
            f"uneven classes: {names[most]} has {train[most]:,} training examples and {names[least]} has "
            f"{train[least]:,}; look at balanced accuracy, since always answering {names[most]} is right in "
            f"{train[most] / train.sum():.1%} of them"
        )


def _constant(dataset: Dataset) -> Iterator[str]:
    """Columns that say nothing; the margins of images are not worth a word."""
    if dataset.preprocessing is not None:
        names = list(dataset.preprocessing.left_out)
    elif dataset.train_x.dtype == np.uint8 or dataset.image_shape:
        return
    else:
        first = dataset.train_x[0]
        same = np.ones(dataset.features, bool)
        for _, rows in row_chunks(dataset.train_x):
            same &= (rows == first).all(axis=0)
        names = [str(column + 1) for column in np.flatnonzero(same)]
    if names:
        left = ", and are left out" if dataset.preprocessing else ""
        yield f"columns that never change in the training rows{left}: {_listed(names[:_NAMED], len(names))}"
