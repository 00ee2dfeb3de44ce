"""The store's SQLite file: where it lies, and how it is opened so that several processes can share it."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import platformdirs
from sqlalchemy import URL, Connection, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from droplab.errors import StoreBusyError, StoreError

_PATIENCE = 60  # seconds to wait for another process's transaction
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


def store_path(location: str | Path | None = None) -> Path:
    """Where the store's database lies.

    Args:
        location: a path or a `sqlite:///path` URL; `None` means the environment's `DROPLAB_STORE`, or a file in the
            user's data folder.

    Raises:
        StoreError: if it is empty, a folder, or a URL of another kind.
    """
    where = location if location is not None else os.environ.get("DROPLAB_STORE")
    if where is None:
        where = Path(platformdirs.user_data_dir("droplab"), "store.sqlite")
    if not str(where).strip():
        raise StoreError("a store must be a path; found an empty text. Name one with --store or DROPLAB_STORE.")
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
    scheme = text.split("://", 1)[0]
    if scheme != "sqlite":
        raise StoreError(
            f"a store must be a file or a sqlite:/// URL; found a {scheme}:// URL. SQLite is what this version has."
        )
    try:
        url = make_url(text)
    except ArgumentError:
        url = URL.create(scheme)
    if url.host or url.query or url.database in (None, "", ":memory:"):
        raise StoreError(f"a store's URL must be sqlite:///PATH, a file; found {text!r}. Name a file.")
    return str(url.database)


class Database:
    """A SQLite file that several processes share; whatever fails in it is a `StoreError` that names it.

    A connection lives as long as one block: none is carried into a forked worker, and an idle database is a single file
    without a log.

    Attributes:
        path: where it lies.
        read_only: whether the file or its folder cannot be written: it can be looked into all the same.
        engine: SQLAlchemy's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_only = path.exists() and not (_may_write(path) and _may_write(path.parent))
        self.engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        event.listen(self.engine, "connect", _on_connect)
        event.listen(self.engine, "begin", _on_begin)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the database, whatever others write meanwhile."""
        with self.failing("read"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, patience: float = _PATIENCE) -> Iterator[Connection]:
        """One transaction, in which the write lock is taken before anything is looked at.

        Args:
            patience: seconds to wait for another process's.

        Raises:
            StoreBusyError: if the other does not end in that time.
            StoreError: also where the store can only be read.
        """
        self.check_writable()
        writer = self.engine.execution_options(droplab_patience=patience)
        with self.failing("written"), writer.begin() as connection:
            yield connection

    def check_writable(self) -> None:
        """Raise unless the store can be written.

        Raises:
            StoreError: saying what to do.
        """
        if self.read_only:
            raise StoreError(
                f"{self.path}: the store must be writable for this; found it, or its folder, read-only. Change its "
                "permissions, or name another with --store."
            )

    def _has_log(self) -> bool:
        with self.path.open("rb") as handle:
            return handle.read(20)[18:] == _WAL_HEADER

    def _connect(self) -> sqlite3.Connection:
        if not self.read_only:
            return sqlite3.connect(self.path, timeout=_PATIENCE)
        # A log can be read beside its database; without one nothing changes, and SQLite need not make any file.
        log = self.path.with_name(f"{self.path.name}-wal")
        how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        return sqlite3.connect(f"{self.path.as_uri()}?{how}", timeout=_PATIENCE, uri=True)

    @contextmanager
    def failing(self, what: str) -> Iterator[None]:
        """Turn what the database or the disk raises into one error: the store cannot be `what`."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, UnicodeError) as error:
            cause = getattr(error, "orig", None) or error
            advice = _ADVICE.get(
                getattr(cause, "sqlite_errorcode", 0) & 0xFF, "Check the file, its folder and the disk."
            )
            busy = getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            kind = StoreBusyError if busy else StoreError
            raise kind(f"{self.path}: the store cannot be {what}: {reason(cause)}. {advice}") from None

    def choose_journal(self) -> None:
        """Let readers and a writer work at the same time: by a write-ahead log, which a network disk cannot have.

        A log is read through memory that all processes share, which those of two machines do not (sqlite.org/wal.html);
        there the rollback journal stands, and a database that comes with a log is changed while nobody else has it.
        SQLite does not always wait for the lock that this change needs, whatever its timeout: without the loop, 4 of
        900 openings of new stores by six processes at once failed with "database is locked".
        """
        deadline = time.monotonic() + _PATIENCE
        with self.failing("opened"), closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as connection:
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


def reason(error: BaseException) -> str:
    """What an error says, on one line and without a full stop."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return " ".join(said.split()).rstrip(".")


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
    connection.isolation_level = None  # transactions begin where `_on_begin` says, and hold DDL too
    connection.text_factory = _decoded
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")  # a committed run survives a power cut
    except sqlite3.Error:
        connection.close()
        raise


def _on_begin(connection: Connection) -> None:
    patience = connection.get_execution_options().get("droplab_patience")
    if patience is None:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA busy_timeout={int(1000 * patience)}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _decoded(text: bytes) -> str:
    """A damaged text must not keep the other rows from being read."""
    return text.decode("utf-8", "surrogateescape")
