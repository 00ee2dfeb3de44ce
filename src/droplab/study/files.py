"""The files of a store: weights, named by their hash, and checkpoints, named by their pack. One contract, many places.

Nothing here is believed because it can be read: weights are checked against the hash that is their name, checkpoints
hold one of their own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from droplab.errors import DroplabError
from droplab.train.checkpoint import Place

Kind = Literal["weights", "checkpoints"]

NAME = re.compile("[0-9a-f]{64}")
"""What a file is called, whoever wrote it."""


class StoredFile(NamedTuple):
    """A file of the store: `part` while it is being written, `orphan` where nothing needs it, nor has for an hour."""

    name: str
    size: int
    part: bool
    orphan: bool


class DiskUse(NamedTuple):
    """What a store takes on disk, in bytes.

    Attributes:
        runs: finished runs.
        database_bytes: of the database with its log.
        weights_bytes: of their weights.
        orphans: files that nothing has needed for an hour: weights without a run, checkpoints of which no run is
            planned any more, and what was left half-written.
        orphan_bytes: of these.
        planned: runs that are planned and not finished.
        checkpoints: checkpoints of their packs.
        checkpoint_bytes: of these, and of what is being written now.
    """

    runs: int
    database_bytes: int
    weights_bytes: int
    orphans: int
    orphan_bytes: int
    planned: int
    checkpoints: int
    checkpoint_bytes: int


class Files(ABC):
    """Where the files of a store are, reachable by all who use it. It can be pickled."""

    @abstractmethod
    def where(self, kind: Kind, name: str = "") -> str:
        """Where a file lies, or all of a kind, for people to read."""

    @abstractmethod
    def write(self, kind: Kind, files: Iterable[tuple[str, bytes]]) -> None:
        """Keep files of that name and content, each whole or not at all, and so that a power cut loses none.

        Args:
            kind: of them all.
            files: taken one after the other, so a generator needs no more memory than its largest file.

        Raises:
            DroplabError: if one cannot be kept; some of the others may be.
        """

    @abstractmethod
    def read(self, kind: Kind, name: str) -> bytes:
        """The content of a file.

        Raises:
            DroplabError: if it is not there or cannot be read.
        """

    @abstractmethod
    def there(self, kind: Kind, names: Iterable[str]) -> dict[str, int]:
        """Which of the names are those of files that are there, with their sizes in bytes."""

    @abstractmethod
    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """Remove files, whole and half-written, as far as they are there and surely this store's.

        Raises:
            DroplabError: if one cannot be removed.
        """

    @abstractmethod
    def listed(self, kind: Kind, needed: Container[str]) -> Iterator[StoredFile]:
        """All files of a kind.

        Args:
            kind: which.
            needed: names that the database refers to.
        """

    @abstractmethod
    def sweep(self, kind: Kind, needed: Container[str]) -> None:
        """Remove the orphans among `listed`, as `remove` does."""

    def place(self, kind: Kind, name: str) -> Place:
        """One of them, for a process that knows no more of the store.

        Raises:
            ValueError: if that can be no file's name.
        """
        return Kept(self, kind, checked(name))


@dataclass(frozen=True)
class Kept:
    """One file of a store: a `Place`."""

    files: Files
    kind: Kind
    name: str

    def read(self) -> bytes | None:
        """What was written last; `None` if nothing was, or it cannot be read."""
        try:
            return self.files.read(self.kind, self.name)
        except DroplabError:
            return None

    def write(self, content: bytes) -> None:
        """Keep that instead; raises as `Files.write`."""
        self.files.write(self.kind, [(self.name, content)])


def checked(name: str) -> str:
    """The name of a file, whoever wrote it.

    Raises:
        ValueError: if it can be none.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"a pack's name must be 64 hexadecimal digits; found {name!r}")
    return name
