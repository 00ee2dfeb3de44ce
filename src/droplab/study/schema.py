"""The store's tables, and how those that an older droplab made become them.

Each row has a digest of what it holds, so that damage is found before it becomes a figure. That of `arrays` is over the
whole run; that of `runs` over what listings read.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    event,
    insert,
    inspect,
    select,
    update,
)

from droplab.errors import StoreError
from droplab.study.database import Database

SCHEMA_VERSION, _SEALED = 8, 5
"""Of the tables; and from which on rows have digests and a store an identity."""

Values = Mapping[str, Any] | RowMapping
"""What a row holds, by column."""

tables = MetaData()

# On a server text sorts as bytes, whatever its language, and whole numbers have eight bytes, as SQLite's have.
_TEXT = String().with_variant(String(collation="C"), "postgresql")
_WHOLE = Integer().with_variant(BigInteger(), "postgresql")


def _digest() -> Column[str]:
    return Column("digest", _TEXT, nullable=False, server_default="")


meta_table = Table("meta", tables, Column("name", _TEXT, primary_key=True), Column("value", _TEXT, nullable=False))
datasets_table = Table(
    "datasets",
    tables,
    Column("fingerprint", _TEXT, primary_key=True),
    Column("name", _TEXT, nullable=False, index=True),
    Column("source", _TEXT, nullable=False),
    Column("classes", _TEXT, nullable=False),  # JSON
    Column("train_examples", _WHOLE, nullable=False),
    Column("test_examples", _WHOLE, nullable=False),
    Column("look", _TEXT),  # JSON
    _digest(),
)
labels_table = Table(
    "labels",
    tables,
    Column("fingerprint", _TEXT, ForeignKey("datasets.fingerprint"), primary_key=True),
    Column("npz", LargeBinary, nullable=False),
    _digest(),
)
runs_table = Table(  # what listings read stands first: SQLite reads a row's later pages only where they are asked for
    "runs",
    tables,
    Column("key", _TEXT, primary_key=True),
    Column("finished", _TEXT, nullable=False, index=True),  # ISO 8601, UTC, microseconds: sorts as it reads
    Column("dataset", _TEXT, nullable=False),
    Column("fingerprint", _TEXT, nullable=False),
    Column("seed", _WHOLE, nullable=False),
    Column("depth", _WHOLE, nullable=False),
    Column("dropout", Float, nullable=False),
    Column("device", _TEXT, nullable=False),
    Column("precision", _TEXT, nullable=False),
    Column("compiled", _WHOLE, nullable=False, server_default="0"),  # 0 or 1, as the next; their reader checks it
    Column("stacked", _WHOLE, nullable=False, server_default="0"),
    Column("threads", _WHOLE, nullable=False, server_default="1"),
    Column("test_accuracy", Float),  # inference mode `off`, where the metrics hold it
    Column("train_seconds", Float, nullable=False),
    Column("evaluate_seconds", Float, nullable=False),
    Column("weights_hash", _TEXT, nullable=False, index=True),
    Column("weights_bytes", _WHOLE, nullable=False),
    _digest(),
    Column("settings", _TEXT, nullable=False),  # JSON, as the next two
    Column("environment", _TEXT, nullable=False),
    Column("metrics", _TEXT, nullable=False),
)
arrays_table = Table(
    "arrays",
    tables,
    Column("key", _TEXT, ForeignKey("runs.key"), primary_key=True),
    Column("npz", LargeBinary, nullable=False),
    _digest(),
)
plans_table = Table(  # runs that are planned and not finished
    "plans",
    tables,
    Column("key", _TEXT, primary_key=True),
    Column("way", _TEXT, nullable=False),  # JSON
    Column("pack", _TEXT, nullable=False, index=True),
    Column("planned", _TEXT, nullable=False),  # ISO 8601, UTC
    _digest(),
    Column("owner", _TEXT, nullable=False, server_default=""),  # of the process that trains it, `claims.Owner.text`
    Column("leased", Float, nullable=False, server_default="0"),  # until when, seconds since 1970
)
looks_table = Table(  # at studies: each spends a part of the error that a study may make
    "looks",
    tables,
    Column("study", _TEXT, primary_key=True),  # `Plan.identity`
    Column("seeds", _TEXT, primary_key=True),  # JSON
    Column("number", _WHOLE, nullable=False),  # from 1
    _digest(),
)
pieces_table = Table(  # of files, where the database holds them: `pieces.Pieces`
    "pieces",
    tables,
    Column("kind", _TEXT, primary_key=True),
    Column("name", _TEXT, primary_key=True),
    Column("number", Integer, primary_key=True),  # from 0
    Column("content", LargeBinary, nullable=False),
    Column("written", Float, nullable=False),  # seconds since 1970, by the database's clock
)
suspects_table = Table(  # runs that were not as they were saved when they were read: a resume looks into them
    "suspects", tables, Column("key", _TEXT, primary_key=True)
)
_AS_THEY_ARE = "ALTER TABLE pieces ALTER COLUMN content SET STORAGE EXTERNAL"  # weights do not shrink
event.listen(pieces_table, "after_create", DDL(_AS_THEY_ARE).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]

_BULKY = ("environment", "metrics")
LISTED = [column for column in runs_table.c if column.name not in _BULKY]
"""The columns of `runs` that listings read, and its digest is over."""

_STEPS = {  # what makes the next version of each; as SQL, because the tables above will have moved on
    1: (
        "ALTER TABLE runs ADD COLUMN compiled INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN stacked INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE plans (key VARCHAR NOT NULL PRIMARY KEY, way VARCHAR NOT NULL, pack VARCHAR NOT NULL, "
        "planned VARCHAR NOT NULL)",
        "CREATE INDEX ix_plans_pack ON plans (pack)",
    ),
    2: (
        "CREATE TABLE labels (fingerprint VARCHAR NOT NULL PRIMARY KEY REFERENCES datasets (fingerprint), "
        "npz BLOB NOT NULL)",
    ),
    3: ("ALTER TABLE datasets ADD COLUMN look VARCHAR",),
    4: (
        *(
            f"ALTER TABLE {table} ADD COLUMN digest VARCHAR NOT NULL DEFAULT ''"
            for table in ("datasets", "labels", "runs", "arrays", "plans")
        ),
        "ALTER TABLE plans ADD COLUMN owner VARCHAR NOT NULL DEFAULT ''",
        "ALTER TABLE plans ADD COLUMN leased FLOAT NOT NULL DEFAULT 0",
    ),
    5: (
        "CREATE TABLE looks (study VARCHAR NOT NULL, seeds VARCHAR NOT NULL, number INTEGER NOT NULL, "
        "digest VARCHAR NOT NULL DEFAULT '', PRIMARY KEY (study, seeds))",
    ),
    6: ("ALTER TABLE runs ADD COLUMN threads INTEGER NOT NULL DEFAULT 1",),
    7: (
        "CREATE TABLE pieces (kind {text} NOT NULL, name {text} NOT NULL, number INTEGER NOT NULL, "
        "content {blob} NOT NULL, written FLOAT NOT NULL, PRIMARY KEY (kind, name, number))",
        "CREATE TABLE suspects (key {text} NOT NULL PRIMARY KEY)",
    ),
}


def sealed(table: Table, values: Values, run: Values | None = None) -> dict[str, Any]:
    """The values of a row, and their digest.

    Args:
        table: of the row.
        values: by column.
        run: of a row of `arrays`, the sealed values of the same run in `runs`.
    """
    return {**values, "digest": _digest_of(table, values, run)}


def is_sound(table: Table, values: Values, run: Values | None = None) -> bool:
    """Whether a row is as it was sealed; arguments as of `sealed`, `values` with the digest."""
    return bool(values["digest"] == _digest_of(table, values, run))


def _digest_of(table: Table, values: Values, run: Values | None) -> str:
    left_out = ("digest", "owner", "leased", *_BULKY)
    content = {column.name: _plain(values[column.name]) for column in table.c if column.name not in left_out}
    if values.get("threads") == 1:  # so that rows sealed before there were others stay sound
        del content["threads"]
    if run is not None:
        content["run"] = [run[name] for name in ("digest", *_BULKY)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """As a database gives it back: truth values and whole numbers as numbers, NaN as nothing."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, int | float):
        return None if math.isnan(value) else float(value).hex()
    return value


def prepare(database: Database) -> None:
    """Make the tables in an empty database, and bring those of an older droplab up to date, whole or not at all.

    Raises:
        StoreError: if it is another program's or a newer droplab's; it is left untouched.
    """
    with database.reading() as connection:
        version = _version(connection, database.name)
    if version == SCHEMA_VERSION:
        return
    with database.writing() as connection:
        version = _version(connection, database.name)  # another process may have come first
        if version is None:
            tables.create_all(connection)
            _keep_meta(connection, schema=str(SCHEMA_VERSION), identity=uuid.uuid4().hex, suffix="")
        if version in (None, SCHEMA_VERSION):
            return
        for step in range(version, SCHEMA_VERSION):
            for statement in _STEPS[step]:
                connection.exec_driver_sql(statement.format(**database.types))
        if version < _SEALED:
            _seal(connection)
            _keep_meta(connection, identity=uuid.uuid4().hex, suffix="")
        connection.execute(update(meta_table).where(meta_table.c.name == "schema").values(value=str(SCHEMA_VERSION)))


def _version(connection: Connection, name: str) -> int | None:
    """Return the schema's version, `None` for an empty database; refuse what this droplab does not know."""
    names = inspect(connection).get_table_names()
    if not names:
        return None
    if "meta" not in names:
        raise StoreError(
            f"{name}: must be a store of droplab; found a database with the tables {', '.join(names[:4])}. "
            "Name another with --store."
        )
    version: str | None = connection.scalar(select(meta_table.c.value).where(meta_table.c.name == "schema"))
    for known in (*_STEPS, SCHEMA_VERSION):
        if version == str(known):
            return known
    raise StoreError(
        f"{name}: must be a store of schema version {SCHEMA_VERSION} or older; found version {version}. "
        "Use the droplab that wrote it, or name another with --store."
    )


def _keep_meta(connection: Connection, **values: str) -> None:
    connection.execute(insert(meta_table), [{"name": name, "value": value} for name, value in values.items()])


def _seal(connection: Connection) -> None:
    """Give the rows of an older store their digests."""
    for table in (datasets_table, labels_table, runs_table, plans_table, arrays_table):
        (primary,) = table.primary_key
        for key in connection.scalars(select(primary)).all():
            row = connection.execute(select(table).where(primary == key)).one()._mapping
            run = None
            if table is arrays_table:
                run = connection.execute(select(runs_table).where(runs_table.c.key == key)).one()._mapping
            digest = sealed(table, row, run)["digest"]
            connection.execute(update(table).where(primary == key).values(digest=digest))
