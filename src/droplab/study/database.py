"""A store's database: what SQLite's and PostgreSQL's have in common. Many processes use one at the same time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from droplab.errors import StoreAwayError, StoreError

_T = TypeVar("_T")
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}  # these know ON CONFLICT

PATIENCE = 60.0
"""Seconds to wait for another process's transaction."""

AWAY = 600.0
"""Seconds that a database is waited for which was there and no longer answers."""

_BETWEEN = 1.0  # seconds from one question whether it is back to the next


class Database(ABC):
    """A database that several processes share; whatever fails in it is a `StoreError` that names it.

    Attributes:
        name: what it is called where something is said of it; never with a password.
        engine: SQLAlchemy's.
        types: what text and bytes are in its SQL.
        failures: what is raised where it fails, or the disk.
        notice: told that the database is waited for.
        stopping: asked meanwhile; once it is true, there is no more waiting.
    """

    name: str
    engine: Engine
    types: ClassVar[dict[str, str]]
    failures: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError, OSError, UnicodeError)

    def __init__(self) -> None:
        self.notice: Callable[[str], None] = lambda _: None
        self.stopping: Callable[[], bool] = lambda: False
        self._answered = False

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether it is there, or may be: looking into it makes nothing new."""

    @property
    @abstractmethod
    def read_only(self) -> bool:
        """Whether it can be looked into and not written."""

    @property
    @abstractmethod
    def size(self) -> int:
        """What it takes on disk, in bytes."""

    @abstractmethod
    def make(self) -> None:
        """Have a place for it, where that is ours to make."""

    @abstractmethod
    def settle(self) -> None:
        """Whatever is to be chosen once its tables are there."""

    @abstractmethod
    def now(self, connection: Connection) -> float:
        """The time by the clock that all who share it go by, seconds since 1970."""

    @abstractmethod
    def _begin(self, connection: Connection, patience: float | None) -> None:
        """Begin a transaction: one view of the database, or, waiting so many seconds, the only one that writes."""

    @abstractmethod
    def _error_of(self, cause: BaseException) -> tuple[type[StoreError], str]:
        """Which error a failure is, and what to do about it."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the database, whatever others write meanwhile."""
        with self._transaction("read", None) as connection:
            yield connection

    @contextmanager
    def writing(self, patience: float = PATIENCE) -> Iterator[Connection]:
        """One transaction, that no other process writes beside: the right to is had before anything is looked at.

        Args:
            patience: seconds to wait for another process's.

        Raises:
            StoreBusyError: if the other does not end in that time.
            StoreError: also where the store can only be read.
        """
        self.check_writable()
        with self._transaction("written", patience) as connection:
            yield connection

    def waited(self, ask: Callable[[], _T]) -> _T:
        """What a question of one transaction gives, asked again as long as the database was there and is away.

        Raises:
            StoreAwayError: after `AWAY` seconds, or once it is `stopping`.
        """
        deadline, told = time.monotonic() + AWAY, False
        while True:
            try:
                return ask()
            except StoreAwayError as error:
                if not self._answered or self.stopping() or time.monotonic() > deadline:
                    raise
                if not told:
                    self.notice(f"{error} It is waited for.")
                told = True
            time.sleep(_BETWEEN)

    def check_writable(self) -> None:
        """Raise unless the store can be written.

        Raises:
            StoreError: saying what to do.
        """
        if self.read_only:
            raise StoreError(
                f"{self.name}: the store must be writable for this; found it, or its folder, read-only. Change its "
                "permissions, or name another with --store."
            )

    def replace(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows, in the place of those with the same primary keys."""
        if rows:
            new = _INSERT[connection.dialect.name](table)
            changed = {name: new.excluded[name] for name in rows[0]}
            connection.execute(new.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), rows)

    def close(self) -> None:
        """Let go of it."""
        self.engine.dispose()

    @contextmanager
    def failing(self, what: str) -> Iterator[None]:
        """Turn what the database or the disk raises into one error: the store cannot be `what`."""
        try:
            yield
        except self.failures as error:
            cause = getattr(error, "orig", None) or error
            kind, advice = self._error_of(cause)
            raise kind(f"{self.name}: the store cannot be {what}: {reason(cause)}. {advice}") from None

    @contextmanager
    def _transaction(self, what: str, patience: float | None) -> Iterator[Connection]:
        with self.failing(what), self.engine.begin() as connection:
            self._begin(connection, patience)
            self._answered = True
            yield connection


def reason(error: BaseException) -> str:
    """What an error says, on one line and without a full stop."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return " ".join(said.split()).rstrip(".")
