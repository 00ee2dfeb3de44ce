"""The store's SQLite file: where it lies, and how it is opened so that several processes can share it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import platformdirs
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from droplab.errors import StoreError

_PATIENCE = 60  # seconds to wait for another process's transaction
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
        engine: SQLAlchemy's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = _open_engine(path)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the database, whatever others write meanwhile."""
        with self.failing("read"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, in which the write lock is taken before anything is looked at."""
        writer = self.engine.execution_options(droplab_writes=True)
        with self.failing("written"), writer.begin() as connection:
            yield connection

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
            raise StoreError(f"{self.path}: the store cannot be {what}: {reason(cause)}. {advice}") from None

    def use_write_ahead_log(self) -> None:
        """Let readers and a writer work at the same time.

        SQLite does not always wait for the lock that this change needs, whatever its timeout: without the loop, 4 of
        900 openings of new stores by six processes at once failed with "database is locked".
        """
        deadline = time.monotonic() + _PATIENCE
        with self.failing("opened"), closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as connection:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)


def reason(error: BaseException) -> str:
    """What an error says, on one line and without a full stop."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return " ".join(said.split()).rstrip(".")


def _open_engine(path: Path) -> Engine:
    """An engine whose connections live as long as one call, and whose transactions begin where they say."""
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _PATIENCE})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_on_begin` says, and hold DDL too
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")  # a committed run survives a power cut
    except sqlite3.Error:
        connection.close()
        raise


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("droplab_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
