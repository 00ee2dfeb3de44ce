"""A store's rows and files as they lie there, for what goes through all of them: none is believed, none is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from droplab.data.disk import at_once
from droplab.errors import DroplabError, StoreAwayError, StoreError
from droplab.study.database import Database
from droplab.study.files import Files, Kind
from droplab.study.schema import Values, arrays_table, is_sound, plans_table, runs_table

RECORD = select(runs_table, arrays_table.c.npz, arrays_table.c.digest.label("arrays_digest")).join(
    arrays_table, isouter=True
)
"""Runs with their arrays, which are NULL where they are missing."""

_BATCH = 200  # rows: with their arrays some megabytes


def batches(database: Database, table: Table) -> Iterator[list[Row[Any]]]:
    """All rows of a table with a key of one column, of `runs` with their arrays, in the order of their keys.

    Each batch is read in a transaction of its own, so that none is open for long beside a study at work.
    """
    (key,) = table.primary_key
    query = (RECORD if table is runs_table else select(table)).order_by(key).limit(_BATCH)
    rows = _read(database, query)
    while rows:
        yield rows
        rows = _read(database, query.where(key > rows[-1]._mapping[key.name]))


def records(database: Database, keys: Iterable[str]) -> list[Row[Any]]:
    """Those of the runs of a batch that are there, with their arrays."""
    return _read(database, RECORD.where(runs_table.c.key.in_(keys)))


def is_whole(run: Values) -> bool:
    """Whether a row of `RECORD` is as it was sealed."""
    return is_sound(runs_table, run) and run["npz"] is not None and is_sound(arrays_table, arrays_of(run), run)


def arrays_of(run: Values) -> dict[str, Any]:
    """The row of `arrays` in a row of `RECORD`."""
    return {"key": run["key"], "npz": run["npz"], "digest": run["arrays_digest"]}


def weights_of(files: Files, name: str) -> bytes:
    """Weights, checked against the hash that is their name.

    Raises:
        DroplabError: if they are missing, or are no longer what they were.
    """
    content = files.read("weights", name)
    if hashlib.sha256(content).hexdigest() != name:
        raise StoreError(f"{files.where('weights', name)}: its bytes have changed.")
    return content


def without_weights(files: Files, runs: Iterable[Row[Any]]) -> set[str]:
    """The keys of those of the runs of which the weights are missing or damaged."""
    lacking: set[str] = set()

    def read(run: Row[Any]) -> None:
        try:
            weights_of(files, run.weights_hash)
        except StoreAwayError:
            raise
        except DroplabError:
            lacking.add(run.key)

    at_once(read, list(runs))
    return lacking


def needed(connection: Connection) -> Iterator[tuple[Kind, set[str]]]:
    """The names of files, by kind, that rows refer to."""
    yield "weights", set(connection.scalars(select(runs_table.c.weights_hash)))
    yield "checkpoints", set(connection.scalars(select(plans_table.c.pack).distinct()))


def _read(database: Database, query: Any) -> list[Row[Any]]:
    def ask() -> list[Row[Any]]:
        with database.reading() as connection:
            return list(connection.execute(query))

    return database.waited(ask)
