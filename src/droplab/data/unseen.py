"""What rows have that the rows trained on lacked: counted as they are read, and said."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FAR = 1_000
"""Deviations from the mean of training, beyond which a number is told."""

_KEPT = 1_000  # different texts of a column, from which on no more are kept
_TOLD = 5  # columns, and categories of a column, that are told


@dataclass
class Unseen:
    """What rows have that the training rows lacked, which a network can only pass over.

    Attributes:
        rows: how many rows there were.
        unknown: whether each has a category that training lacks, shape (rows,).
        texts: by column, these categories and how often each was met.
        gaps: by column, cells without a value where no training row lacked one.
        far: by column, the first number that is `FAR` deviations from the mean, and its row.
        before: rows with an unknown category among those that were taken up earlier.
    """

    rows: int = 0
    unknown: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    texts: dict[str, Counter[str]] = field(default_factory=dict)
    gaps: Counter[str] = field(default_factory=Counter)
    far: dict[str, tuple[str, int]] = field(default_factory=dict)
    before: int = 0

    def begin(self, rows: int) -> None:
        """Take up more rows."""
        self.before += int(self.unknown.sum())
        self.rows, self.unknown = self.rows + rows, np.zeros(rows, bool)

    def note(self, column: str, texts: pa.Array, unknown: NDArray[np.bool_]) -> None:
        """Note the rows, among those taken up, that have an unknown category; `texts` are all that a column has."""
        self.unknown |= unknown
        if unknown.any() and len(kept := self.texts.setdefault(column, Counter())) < _KEPT:
            kept.update(texts.filter(pa.array(unknown)).to_pylist())

    @property
    def words(self) -> list[str]:
        """A sentence each."""
        told = []
        if count := self.before + int(self.unknown.sum()):
            each = [f"{name}: {_examples(texts)}" for name, texts in self.texts.items()]
            told.append(
                f"{count:,} of {self.rows:,} rows have a category that training lacks, which says nothing to the "
                f"network ({'; '.join(each[:_TOLD])}{'; …' if len(each) > _TOLD else ''})"
            )
        if self.gaps:
            each = [f"{name}: {count:,}" for name, count in self.gaps.items()]
            told.append(f"cells are empty in columns where no training row lacked a value ({'; '.join(each[:_TOLD])})")
        if self.far:
            each = [f"{name}: {number} in row {row}" for name, (number, row) in self.far.items()]
            told.append(f"numbers are over {FAR:,} deviations from those of training ({'; '.join(each[:_TOLD])})")
        return told


def _examples(texts: Counter[str]) -> str:
    named = [repr(text) for text, _ in texts.most_common(_TOLD)]
    return ", ".join(named) + (f" and {len(texts) - _TOLD:,} more" if len(texts) > _TOLD else "")
