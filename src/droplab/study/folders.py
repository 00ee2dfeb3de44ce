"""The files of a store in two folders, which carry its identity: no store removes another's, whatever it is called."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droplab.data.disk import ABANDONED, open_regular, write_atomically, write_together
from droplab.errors import StoreError
from droplab.study.database import reason
from droplab.study.files import Files, Kind, StoredFile

_MARK = ".droplab-store.json"
_NAME = re.compile(r"\.?([0-9a-f]{64})\.safetensors(\.[0-9a-f]+\.part)?")


@dataclass(frozen=True)
class Folders(Files):
    """Folders of weights and checkpoints, on a disk that this machine has.

    Attributes:
        weights: where weights lie.
        checkpoints: where packs under way keep theirs.
        identity: what tells the store from any other.
        database: what its database is called, where they lie beside it.
    """

    weights: Path
    checkpoints: Path
    identity: str
    database: str

    def folder(self, kind: Kind) -> Path:
        """Where those of a kind lie."""
        return self.weights if kind == "weights" else self.checkpoints

    def path(self, kind: Kind, name: str) -> Path:
        """Where a file lies: weights in folders by their first two digits."""
        return self.folder(kind) / self._inside(kind, name)

    def where(self, kind: Kind, name: str = "") -> str:
        """A path."""
        return str(self.path(kind, name) if name else self.folder(kind))

    def write(self, kind: Kind, files: Iterable[tuple[str, bytes]]) -> None:
        """As the contract says: nothing takes a file's place before it is on disk."""
        named = ((self._inside(kind, name), content) for name, content in files)
        write_together(self.folder(kind), named)

    def read(self, kind: Kind, name: str) -> bytes:
        """As the contract says."""
        path = self.path(kind, name)
        try:
            with open_regular(path) as handle:
                return handle.read()
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {reason(error)}.") from None

    def there(self, kind: Kind, names: Iterable[str]) -> dict[str, int]:
        """As the contract says; a folder or a pipe of that name is no file."""
        folder, found = str(self.folder(kind)), {}
        for name in names:  # as text: a `Path` takes five times as long as the look
            with suppress(OSError, ValueError):  # a damaged name may be that of no file
                status = os.stat(f"{folder}/{self._inside(kind, name)}")  # noqa: PTH116
                if stat.S_ISREG(status.st_mode):
                    found[name] = status.st_size
        return found

    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """As the contract says; checkpoints are named by what is trained, so they are nobody else's."""
        if not self.are_ours and kind == "weights":
            return
        for path in (self.path(kind, name) for name in names):
            parts = path.parent.glob(f".{path.name}.*.part") if kind == "checkpoints" else ()
            self._unlink((path, *parts))

    def listed(self, kind: Kind, needed: Container[str]) -> Iterator[StoredFile]:
        """As the contract says; files of other names are not the store's."""
        for file, _ in self._found(kind, needed):
            yield file

    def sweep(self, kind: Kind, needed: Container[str]) -> None:
        """As the contract says."""
        if self.are_ours:
            self._unlink(path for file, path in self._found(kind, needed) if file.orphan)

    @property
    def are_ours(self) -> bool:
        """Whether both say that they are this store's: else nothing in them is to be removed."""
        return all(_mark_of(folder) == self._mark for folder in (self.weights, self.checkpoints))

    def claim(self) -> None:
        """Make them where they are missing, and mark them as this store's."""
        for folder in (self.weights, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
            if _mark_of(folder) != self._mark:
                with write_atomically(folder / _MARK) as handle:
                    handle.write(json.dumps(self._mark).encode())

    def take(self, hashes: Iterable[str], before: Folders) -> None:
        """Have those of the weights of `before` here, too, that are there."""
        for name in hashes:
            source, target = before.path("weights", name), self.path("weights", name)
            if source.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except OSError:  # not every disk has links
                    with write_atomically(target) as handle, source.open("rb") as old:
                        shutil.copyfileobj(old, handle)

    def are_anothers(self, beside: Path, empty: bool) -> bool:
        """Whether one of them is another store's, which is there or may be.

        Args:
            beside: the store's database.
            empty: whether this store has no runs, so that files without a mark cannot be its own.
        """
        return any(self._is_anothers(folder, beside, empty) for folder in (self.weights, self.checkpoints))

    def _inside(self, kind: Kind, name: str) -> str:
        return f"{name[:2]}/{name}.safetensors" if kind == "weights" else f"{name}.safetensors"

    @property
    def _mark(self) -> dict[str, str]:
        return {"store": self.identity, "database": self.database}

    def _is_anothers(self, folder: Path, beside: Path, empty: bool) -> bool:
        mark = _mark_of(folder)
        if mark is None:
            full = folder.is_dir() and any(folder.iterdir())
            return full and (empty or any(map(_is_database, _namesakes(beside))))
        if mark.get("store") != self.identity:
            return True
        other = beside.with_name(str(mark.get("database")))
        return other.name != beside.name and _is_database(other)

    def _found(self, kind: Kind, needed: Container[str]) -> Iterator[tuple[StoredFile, Path]]:
        for path in self.folder(kind).glob("??/*" if kind == "weights" else "*"):
            name = _NAME.fullmatch(path.name)
            if name is None:
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # its writer has just finished or given up
                continue
            part = name[2] is not None
            orphan = (part or name[1] not in needed) and time.time() - status.st_mtime > ABANDONED
            yield StoredFile(name[1], status.st_size, part, orphan), path

    def _unlink(self, paths: Iterable[Path]) -> None:
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{path}: the file cannot be removed: {reason(error)}.") from None


def beside(database: Path, identity: str, suffix: str) -> Folders:
    """The folders of a store in a file: beside it.

    Args:
        database: the file.
        identity: the store's.
        suffix: what their names have behind the file's, where that alone was another store's.
    """
    weights, checkpoints = (
        database.with_name(f"{database.stem}{suffix}-{kind}") for kind in ("weights", "checkpoints")
    )
    return Folders(weights, checkpoints, identity, database.name)


def _namesakes(database: Path) -> Iterator[Path]:
    """Files whose folders had the same names before they carried an identity."""
    for path in database.parent.iterdir():
        if path.stem == database.stem and path.name != database.name:
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
