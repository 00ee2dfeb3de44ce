"""The files beside the store's database: weights, named by their hash, and checkpoints, named by their pack.

Their folders carry the store's identity, so that no store removes another's files, whatever the two are called.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from droplab.data.disk import ABANDONED, write_atomically

_MARK = ".droplab-store.json"
_NAME = re.compile(r"\.?([0-9a-f]{64})\.safetensors(\.[0-9a-f]+\.part)?")


class StoredFile(NamedTuple):
    """A file of the store: `part` while it is being written, `orphan` where nothing needs it, nor has for an hour."""

    path: Path
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


@dataclass(frozen=True)
class Folders:
    """The folders of weights and checkpoints of a store.

    Attributes:
        database: the store's file.
        identity: what tells the store from any other.
        suffix: what their names have behind the database's, where that alone was another store's.
    """

    database: Path
    identity: str
    suffix: str

    @property
    def weights(self) -> Path:
        """Where weights lie."""
        return self.database.with_name(f"{self.database.stem}{self.suffix}-weights")

    @property
    def checkpoints(self) -> Path:
        """Where packs under way keep theirs."""
        return self.database.with_name(f"{self.database.stem}{self.suffix}-checkpoints")

    @property
    def are_ours(self) -> bool:
        """Whether both say that they are this store's: else nothing in them is to be removed."""
        return all(_mark_of(folder) == self._mark for folder in (self.weights, self.checkpoints))

    def are_anothers(self, empty: bool) -> bool:
        """Whether one of them is another store's, which is there or may be.

        Args:
            empty: whether this store has no runs, so that files without a mark cannot be its own.
        """
        return any(self._is_anothers(folder, empty) for folder in (self.weights, self.checkpoints))

    def claim(self) -> None:
        """Make them where they are missing, and mark them as this store's."""
        for folder in (self.weights, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
            if _mark_of(folder) != self._mark:
                with write_atomically(folder / _MARK) as handle:
                    handle.write(json.dumps(self._mark).encode())

    def take(self, hashes: Iterable[str], before: Folders) -> None:
        """Have those of the weights of `before` here, too, that are there."""
        for name in map(weights_name, hashes):
            source, target = before.weights / name, self.weights / name
            if source.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except OSError:  # not every disk has links
                    with write_atomically(target) as handle, source.open("rb") as old:
                        shutil.copyfileobj(old, handle)

    @property
    def _mark(self) -> dict[str, str]:
        return {"store": self.identity, "database": self.database.name}

    def _is_anothers(self, folder: Path, empty: bool) -> bool:
        mark = _mark_of(folder)
        if mark is None:
            full = folder.is_dir() and any(folder.iterdir())
            return full and (empty or any(map(_is_database, self._namesakes())))
        if mark.get("store") != self.identity:
            return True
        other = self.database.with_name(str(mark.get("database")))
        return other.name != self.database.name and _is_database(other)

    def _namesakes(self) -> Iterator[Path]:
        """Files whose folders had the same names before they carried an identity."""
        for path in self.database.parent.iterdir():
            if path.stem == self.database.stem and path.name != self.database.name:
                yield path


def _mark_of(folder: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((folder / _MARK).read_bytes())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def _is_database(path: Path) -> bool:
    with suppress(OSError, ValueError):
        if path.is_file():
            with path.open("rb") as handle:
                return handle.read(15) == b"SQLite format 3"
    return False


def weights_name(weights_hash: str) -> str:
    """Where, in the folder of weights, those of a hash lie."""
    return f"{weights_hash[:2]}/{weights_hash}.safetensors"


def checkpoint_name(pack: str) -> str:
    """Where, in the folder of checkpoints, that of a pack lies."""
    return f"{pack}.safetensors"


def stored_files(folder: Path, pattern: str, needed: Container[str]) -> Iterator[StoredFile]:
    """Yield the files of weights or checkpoints in `folder`; files of other names are not the store's.

    Args:
        folder: may be missing.
        pattern: which paths in it to look at.
        needed: hashes, or names of packs, that the database refers to.
    """
    for path in folder.glob(pattern):
        name = _NAME.fullmatch(path.name)
        if name is None:
            continue
        try:
            status = path.stat()
        except FileNotFoundError:  # its writer has just finished or given up
            continue
        part = name[2] is not None
        orphan = (part or name[1] not in needed) and time.time() - status.st_mtime > ABANDONED
        yield StoredFile(path, status.st_size, part, orphan)
