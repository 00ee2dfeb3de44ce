"""The store's SQLite file: where it lies, and how it is opened so that several processes can share it."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from sqlalchemy import URL, Connection, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from droplab.errors import StoreBusyError, StoreError
from droplab.study.database import PATIENCE, Database

_NETWORK = re.compile(
    r"nfs|cifs|smb|9p|afs|ceph|lustre|gpfs|beegfs|gluster|ocfs|gfs|orangefs|pvfs|virtiofs|fuse(?!blk|ctl)"
)
_WAL_HEADER = b"\x02\x02"  # bytes 18 and 19 of a database that has a write-ahead log
_ADVICE = {
    sqlite3.SQLITE_NOTADB: "Name another file with --store, or move this one away.",
    sqlite3.SQLITE_CORRUPT: "Move the file away, or put a copy from a backup in its place.",
    sqlite3.SQLITE_FULL: "Make room on the disk and run the study again: what was finished is kept.",
    sqlite3.SQLITE_BUSY: "Another process is writing; try again when it is done.",
}


def file_of(where: str | Path) -> Path:
    """Where a store's file lies.

    Args:
        where: a path, or a `sqlite:///path` URL.

    Raises:
        StoreError: if it is no path, a folder, or a URL of no file.
    """
    try:
        if isinstance(where, str) and "://" in where:
            where = _path_of_url(where)
        path = Path(where).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, an unknown ~user
        raise StoreError(f"a store must be a path; found {str(where)!r}: {error}. Name another with --store.") from None
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise StoreError(f"{path}: a store must be a file; found a folder. Name a file in it.")
    return path


def _path_of_url(text: str) -> str:
    try:
        url = make_url(text)
    except ArgumentError:
        url = URL.create("sqlite")
    if url.host or url.query or url.database in (None, "", ":memory:"):
        raise StoreError(f"a store's URL must be sqlite:///PATH, a file; found {text!r}. Name a file.")
    return str(url.database)


class SQLite(Database):
    """A file of SQLite's.

    A connection lives as long as one block: none is carried into a forked worker, and an idle database is a single file
    without a log.

    Attributes:
        path: where it lies.
    """

    types: ClassVar = {"text": "VARCHAR", "blob": "BLOB"}
    failures = (*Database.failures, sqlite3.Error)  # where SQLAlchemy is not between

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.name = path, str(path)
        self._is_read_only = False
        self.engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        event.listen(self.engine, "connect", _on_connect)

    @property
    def exists(self) -> bool:
        """Whether there is such a file, or none can be looked for."""
        try:
            return self.path.exists()
        except OSError:
            return True

    @property
    def read_only(self) -> bool:
        """Whether the file or its folder could not be written when it was made or found."""
        return self._is_read_only

    @property
    def size(self) -> int:
        """Of the file with its log, in bytes."""
        parts = (self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def make(self) -> None:
        """Make the folder where it is missing.

        Raises:
            StoreError: if it cannot be made, or what is there is no file.
        """
        try:
            if self.path.exists() and not self.path.is_file():
                raise StoreError(f"{self.path}: a store must be a file; found a folder or a device. Name a file in it.")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._is_read_only = self.path.exists() and not (_may_write(self.path) and _may_write(self.path.parent))
        except OSError as error:
            raise StoreError(
                f"{self.path}: the store's folder cannot be used: {error.strerror}. Name another with --store."
            ) from None

    def settle(self) -> None:
        """Let readers and a writer work at the same time: by a write-ahead log, which a network disk cannot have.

        A log is read through memory that all processes share, which those of two machines do not (sqlite.org/wal.html);
        there the rollback journal stands, and a database that comes with a log is changed while nobody else has it.
        SQLite does not always wait for the lock that this change needs, whatever its timeout: without the loop, 4 of
        900 openings of new stores by six processes at once failed with "database is locked".
        """
        if self.read_only:
            return
        deadline = time.monotonic() + PATIENCE
        with self.failing("opened"), closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection:
            while True:
                try:
                    if not is_on_network(self.path):
                        connection.execute("PRAGMA journal_mode=WAL")
                    elif self._has_log():
                        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                        connection.execute("PRAGMA journal_mode=DELETE")
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def now(self, connection: Connection) -> float:
        """This machine's clock, which is SQLite's own."""
        return time.time()

    def _begin(self, connection: Connection, patience: float | None) -> None:
        if patience is None:
            connection.exec_driver_sql("BEGIN")
            return
        connection.exec_driver_sql(f"PRAGMA busy_timeout={int(1000 * patience)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _error_of(self, cause: BaseException) -> tuple[type[StoreError], str]:
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        busy = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        return StoreBusyError if busy else StoreError, _ADVICE.get(code, "Check the file, its folder and the disk.")

    def _has_log(self) -> bool:
        with self.path.open("rb") as handle:
            return handle.read(20)[18:] == _WAL_HEADER

    def _connect(self) -> sqlite3.Connection:
        if not self.read_only:
            return sqlite3.connect(self.path, timeout=PATIENCE)
        # A log can be read beside its database; without one nothing changes, and SQLite need not make any file.
        log = self.path.with_name(f"{self.path.name}-wal")
        how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        return sqlite3.connect(f"{self.path.as_uri()}?{how}", timeout=PATIENCE, uri=True)


def is_on_network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a file lies on a disk that other machines may write to, as far as the system says so.

    Args:
        path: of the file, resolved.
        mounts: what is mounted where, as Linux tells it; `False` where that cannot be read.
    """
    try:
        lines = [line.split() for line in mounts.read_text("utf-8", "surrogateescape").splitlines()]
    except OSError:
        return False
    kinds = {}
    for parts in lines:
        if "-" in parts[6:-1]:
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), parts[4])
            kinds[Path(point)] = parts[parts.index("-", 6) + 1]
    kind = next((kinds[folder] for folder in path.parents if folder in kinds), "")
    return bool(_NETWORK.match(kind))


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, and hold DDL too
    connection.text_factory = _decoded
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")  # a committed run survives a power cut
    except sqlite3.Error:
        connection.close()
        raise


def _decoded(text: bytes) -> str:
    """A damaged text must not keep the other rows from being read."""
    return text.decode("utf-8", "surrogateescape")
