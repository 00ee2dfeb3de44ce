"""The store's database on a PostgreSQL server, for a team and for many machines.

Whoever writes holds a lock of the transaction, as SQLite's writer does; locks of the session would stay behind where a
pooler hands connections on. For the same reason nothing is prepared on the server, and no setting outlives its
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from sqlalchemy import URL, Connection, NullPool, Pool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError

from droplab.errors import StoreAwayError, StoreBusyError, StoreError
from droplab.study.database import Database

_CONNECTING = {
    "connect_timeout": 10,  # seconds; the next three let a broken network be noticed, in seconds and milliseconds
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "tcp_user_timeout": 30_000,
    "application_name": "droplab",
    "client_encoding": "utf8",  # else text of a database without an encoding is bytes
    "prepare_threshold": None,
}
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('droplab'), hashtext(current_schema()))")
_MAY_WRITE = text(
    "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off' "
    "AND has_schema_privilege(current_schema(), 'USAGE') "
    "AND coalesce(has_table_privilege(to_regclass('runs')::oid, 'INSERT'), true)"
)
_UNHURRIED = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"  # as a server may set
_SIZE = text(
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
    "WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
)
_KINDS: dict[str, tuple[type[StoreError], str]] = {  # by the beginning of SQLSTATE
    "08": (StoreAwayError, "Check the server and the way to it."),
    "57P": (StoreAwayError, "The server is being stopped or started."),
    "53300": (StoreAwayError, "The server has no more connections to give."),
    "53100": (StoreBusyError, "Make room on the server's disk; what was finished is kept."),
    "55P03": (StoreBusyError, "Another process is writing; try again when it is done."),
    "40": (StoreBusyError, "Another process is writing; try again when it is done."),
    "25006": (StoreError, "Ask for the right to write, or name another store with --store."),
    "42501": (StoreError, "Ask for the right to this, or name another store with --store."),
}
_ADVICE = "Check the address, the user, the password (PGPASSWORD, or ~/.pgpass) and that the server is there."


class PostgreSQL(Database):
    """A database on a server.

    Args:
        url: as SQLAlchemy takes it: `postgresql+psycopg://user@host/database`.
        pool: what keeps its connections, if not SQLAlchemy's usual one.

    Raises:
        StoreError: if it is no such URL, or psycopg is not installed.
    """

    types: ClassVar = {"text": 'VARCHAR COLLATE "C"', "blob": "BYTEA"}

    def __init__(self, url: str, pool: type[Pool] | None = None) -> None:
        super().__init__()
        self._url = url
        parsed = _parsed(url)
        told = parsed.difference_update_query(("password", "sslpassword"))
        self.name = told.render_as_string(hide_password=True).replace("%2F", "/")
        try:
            self.engine = create_engine(
                parsed, poolclass=pool, pool_pre_ping=True, pool_recycle=600, connect_args=_CONNECTING
            )
        except ModuleNotFoundError:
            raise StoreError(
                f"{self.name}: a store on PostgreSQL needs psycopg; found none. Type: pip install 'droplab[postgresql]'"
            ) from None
        self._may_write: bool | None = None

    def __reduce__(self) -> tuple[type[PostgreSQL], tuple[str, type[Pool]], dict[str, bool]]:
        """A process that gets it makes connections of its own, to a server that was there, and keeps none."""
        return PostgreSQL, (self._url, NullPool), {"_answered": True}

    @property
    def exists(self) -> bool:
        """True: whether the server has it shows when it is opened."""
        return True

    @property
    def read_only(self) -> bool:
        """Whether the server is a standby, or lets this user only read."""
        if self._may_write is None:
            with self.reading() as connection:
                self._may_write = bool(connection.scalar(_MAY_WRITE))
        return not self._may_write

    @property
    def size(self) -> int:
        """Of its tables with their indexes, in bytes."""
        with self.reading() as connection:
            return int(connection.scalar(_SIZE) or 0)

    def make(self) -> None:
        """Nothing: databases are made on the server."""

    def settle(self) -> None:
        """Nothing: readers and writers are never in each other's way."""

    def now(self, connection: Connection) -> float:
        """The server's clock."""
        return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())::float8")) or 0.0)

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """One transaction that others may write beside: for what is nobody else's; raises as `writing`."""
        self.check_writable()
        with self.failing("written"), self.engine.begin() as connection:
            connection.exec_driver_sql(_UNHURRIED)
            yield connection

    def _begin(self, connection: Connection, patience: float | None) -> None:
        if patience is None:
            connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; {_UNHURRIED}")
            return
        connection.exec_driver_sql(f"{_UNHURRIED}; SET LOCAL lock_timeout = {max(1, int(1000 * patience))}")
        connection.execute(_LOCK)

    def _error_of(self, cause: BaseException) -> tuple[type[StoreError], str]:
        from psycopg import InterfaceError, OperationalError

        state = getattr(cause, "sqlstate", None) or ""
        if not state and isinstance(cause, OperationalError | InterfaceError):  # no connection, or no longer
            return StoreAwayError, _ADVICE
        known = next((kind for start, kind in _KINDS.items() if state.startswith(start)), None)
        return known or (StoreError, "Check the database and its server.")


def _parsed(text: str) -> URL:
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
        if "@" in (url.host or ""):  # the rest of a password
            raise ValueError
    except (ArgumentError, ValueError):  # a port that is no number
        raise StoreError(
            "a store's URL must be postgresql+psycopg://USER@HOST/DATABASE; found one that cannot be read. Special "
            "characters of a password are written as %40 and the like."
        ) from None
    if not url.database:
        raise StoreError(
            "a store's URL must name a database, postgresql+psycopg://USER@HOST/DATABASE; found none. Make one with "
            "createdb."
        )
    return url.set(drivername="postgresql+psycopg")
