"""The store: every finished run, in SQLite, with its weights as safetensors beside it, filed by content.

A run is one row of `runs` and one of `arrays` (what is bulky: curves and ledger), written in one transaction. Its
weights are written before that, whole or not at all, so that a committed row always has them; a process that dies in
between leaves a file that no row refers to, which `disk_use` counts and the next `delete` removes.

Writers take SQLite's write lock before they look (BEGIN IMMEDIATE), and only who holds it removes weights. A connection
lives as long as one call: none is carried into a forked worker, and an idle store is a single file without a log.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Connection,
    Row,
    delete,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.dialects.sqlite import insert as insert_unless_there
from sqlalchemy.exc import SQLAlchemyError

from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.disk import open_regular, write_atomically
from droplab.errors import DataError, StoreError
from droplab.model.file import ModelInfo, from_bytes, to_bytes
from droplab.study.plan import Run
from droplab.study.records import (
    SUMMARY_COLUMNS,
    RunRecord,
    RunSummary,
    arrays_table,
    card_of,
    datasets_table,
    meta_table,
    model_info,
    pack_arrays,
    record_of,
    row_of,
    runs_table,
    schema,
    summary_of,
)
from droplab.study.sqlite import WRITING, open_engine, store_path, use_write_ahead_log
from droplab.train.outcome import Trained

_T = TypeVar("_T")
SCHEMA_VERSION = 1
_CHUNK = 500  # keys a query: SQLite takes 999 variables before 3.32
_ABANDONED = 3600  # seconds after which an unfinished weights file has no living writer
_ADVICE = {
    sqlite3.SQLITE_NOTADB: "Name another file with --store, or move this one away.",
    sqlite3.SQLITE_CORRUPT: "Move the file away, or put a copy from a backup in its place.",
    sqlite3.SQLITE_FULL: "Make room on the disk and run the study again: what was finished is kept.",
    sqlite3.SQLITE_BUSY: "Another process is writing; try again when it is done.",
}


class DiskUse(NamedTuple):
    """What a store takes on disk, in bytes; orphans are weights files that no run refers to."""

    runs: int
    database_bytes: int
    weights_bytes: int
    orphans: int
    orphan_bytes: int


class Store:
    """All runs that were ever finished.

    Any number of processes may use one store at the same time. Use it in a `with` block, or `close` it.

    Args:
        location: as `store_path` takes it. The file and its folder are made where they are missing; the weights lie
            in `<stem>-weights` beside it.

    Raises:
        StoreError: if the file is no droplab store, is damaged, comes from a newer droplab, or cannot be read and
            written. Every method raises it for a database or disk that fails it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/store.sqlite") as store:
        ...     store.finished(["0" * 64])
        set()
    """

    def __init__(self, location: str | Path | None = None) -> None:
        self.path = store_path(location)
        self.weights_folder = self.path.with_name(f"{self.path.stem}-weights")
        try:
            if self.path.exists() and not self.path.is_file():
                raise StoreError(f"{self.path}: a store must be a file; found a folder or a device. Name a file in it.")
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.path}: the store's folder cannot be used: {error.strerror}. Name another with --store."
            ) from None
        self._engine = open_engine(self.path)
        self._prepare()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finished(self, keys: Iterable[str]) -> set[str]:
        """Which of `keys` the store has."""
        with self._reading() as connection:
            return {
                key
                for chunk in _chunks(keys)
                for key in connection.scalars(select(runs_table.c.key).where(runs_table.c.key.in_(chunk)))
            }

    def save(self, run: Run, dataset: Dataset, trained: Trained) -> None:
        """File a finished run with its weights; if another process has filed it meanwhile, that one stays.

        Raises:
            StoreError: if it cannot be written; no run is lost by it, and none is there in part.
            ModelFileError: if the weights are not those of the run's network.
        """
        model = to_bytes(trained.weights, model_info(run, dataset))
        weights_hash = hashlib.sha256(model).hexdigest()
        row, npz = row_of(run, dataset, trained.outcome), pack_arrays(trained.outcome)
        row |= {"weights_hash": weights_hash, "weights_bytes": len(model)}
        card = asdict(dataset.card) | {"classes": json.dumps(dataset.classes)}
        self._write_weights(weights_hash, model)
        with self._writing() as connection:
            connection.execute(insert_unless_there(datasets_table).values(card).on_conflict_do_nothing())
            # The time is taken under the lock, so that runs are listed in the order in which they came to be there.
            row["finished"] = datetime.now(UTC).isoformat(timespec="microseconds")
            if connection.execute(insert_unless_there(runs_table).values(row).on_conflict_do_nothing()).rowcount:
                connection.execute(insert(arrays_table).values(key=run.key, npz=npz))
                if not self.weights_path(weights_hash).exists():  # another process's `delete` saw no row for it yet
                    self._write_weights(weights_hash, model)
            elif not connection.scalar(select(func.count()).where(runs_table.c.weights_hash == weights_hash)):
                self.weights_path(weights_hash).unlink(missing_ok=True)

    def load(self, keys: Iterable[str]) -> dict[str, RunRecord]:
        """Load the records of those of `keys` that the store has, in the order given.

        Raises:
            StoreError: also if a record is damaged; it is named.
        """
        wanted = list(dict.fromkeys(keys))
        query = select(runs_table, arrays_table.c.npz).join(arrays_table, isouter=True)
        found: dict[str, RunRecord] = {}
        with self._reading() as connection:
            for chunk in _chunks(wanted):
                for row in connection.execute(query.where(runs_table.c.key.in_(chunk))):
                    found[row.key] = self._decoded(row, record_of)
        return {key: found[key] for key in wanted if key in found}

    def datasets(self, name: str) -> list[DatasetCard]:
        """The data sets of that name that runs were trained on."""
        query = select(datasets_table).where(datasets_table.c.name == name)
        with self._reading() as connection:
            return [card_of(row) for row in connection.execute(query)]

    def weights_path(self, run: RunRecord | str) -> Path:
        """Where the model file of a record, or of a `weights_hash`, lies."""
        name = run if isinstance(run, str) else run.weights_hash
        return self.weights_folder / name[:2] / f"{name}.safetensors"

    def read_model(self, record: RunRecord) -> bytes:
        """The model file of a run, checked against the hash under which it is filed.

        Raises:
            StoreError: if the file is missing or damaged.
        """
        path = self.weights_path(record)
        try:
            with open_regular(path) as handle:
                model = handle.read()
            fault = "" if hashlib.sha256(model).hexdigest() == record.weights_hash else "its bytes have changed"
        except (OSError, DataError) as error:
            fault = _reason(error)
        if fault:
            raise StoreError(
                f"{path}: must hold the weights of run {record.key[:12]} as they were saved; found: {fault}. "
                f"`droplab runs delete {record.key[:12]}` and run the study again."
            )
        return model

    def read_weights(self, record: RunRecord) -> tuple[dict[str, NDArray[np.float32]], ModelInfo]:
        """The weights of a run and what its network is; raises as `read_model`."""
        return from_bytes(self.read_model(record), str(self.weights_path(record)))

    def summaries(self) -> Sequence[RunSummary]:
        """All runs, in the order in which they were finished."""
        with self._reading() as connection:
            rows = connection.execute(select(*SUMMARY_COLUMNS).order_by(runs_table.c.finished, runs_table.c.key))
            return [self._decoded(row, summary_of) for row in rows]

    def resolve(self, prefix: str) -> str:
        """Return the key that begins with `prefix`.

        Raises:
            StoreError: if none does, or several do.
        """
        start = prefix.strip().lower()
        if not re.fullmatch("[0-9a-f]+", start):
            raise StoreError(f"a run's key must be hexadecimal digits; found {prefix!r}. See `droplab runs list`.")
        with self._reading() as connection:
            query = select(runs_table.c.key).where(runs_table.c.key >= start, runs_table.c.key < start + "g")
            keys = connection.scalars(query.order_by(runs_table.c.key).limit(3)).all()
        if len(keys) == 1:
            return str(keys[0])
        if not keys:
            raise StoreError(
                f"{self.path}: must hold the run asked for; found no key that begins with {prefix!r}. "
                "See `droplab runs list`."
            )
        raise StoreError(
            f"a key's beginning must name one run; found {', '.join(key[:16] for key in keys)} … for {prefix!r}. "
            "Give more digits."
        )

    def delete(self, keys: Iterable[str]) -> int:
        """Delete runs, then every weights file that no run refers to; return how many runs there were."""
        with self._writing() as connection:
            deleted = 0
            for chunk in _chunks(keys):
                connection.execute(delete(arrays_table).where(arrays_table.c.key.in_(chunk)))
                deleted += connection.execute(delete(runs_table).where(runs_table.c.key.in_(chunk))).rowcount
        with self._writing() as connection:
            for path, _, orphan in self._weights(connection):
                if orphan:
                    path.unlink(missing_ok=True)
        return deleted

    def disk_use(self) -> DiskUse:
        """Count what the store takes on disk."""
        with self._reading() as connection:
            runs = connection.scalar(select(func.count()).select_from(runs_table)) or 0
            files = list(self._weights(connection))
        orphans = [size for _, size, orphan in files if orphan]
        parts = (self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return DiskUse(
            runs=runs,
            database_bytes=sum(part.stat().st_size for part in parts if part.exists()),
            weights_bytes=sum(size for _, size, orphan in files if not orphan),
            orphans=len(orphans),
            orphan_bytes=sum(orphans),
        )

    def _weights(self, connection: Connection) -> Iterator[tuple[Path, int, bool]]:
        """Yield each weights file, its size, and whether no run refers to it; files of other names are not ours."""
        kept = set(connection.scalars(select(runs_table.c.weights_hash)))
        for path in self.weights_folder.glob("??/*"):
            name = re.fullmatch(r"\.?([0-9a-f]{64})\.safetensors(\.[0-9a-f]+\.part)?", path.name)
            try:
                status = path.stat()
            except FileNotFoundError:  # its writer has just finished or given up
                continue
            if name and name[2]:
                yield path, status.st_size, time.time() - status.st_mtime > _ABANDONED
            elif name:
                yield path, status.st_size, name[1] not in kept

    def _write_weights(self, weights_hash: str, model: bytes) -> None:
        path = self.weights_path(weights_hash)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(path) as handle:
                handle.write(model)
        except (OSError, DataError) as error:
            raise StoreError(f"the weights of a run cannot be kept: {_reason(error)}.") from None

    def _prepare(self) -> None:
        with self._reading() as connection:
            version = self._version(connection)
        if version is None:
            with self._writing() as connection:
                if self._version(connection) is None:
                    schema.create_all(connection)
                    connection.execute(insert(meta_table).values(name="schema", value=str(SCHEMA_VERSION)))
        with self._failing("opened"):
            use_write_ahead_log(self.path)

    def _version(self, connection: Connection) -> str | None:
        """Return the schema's version, `None` for an empty database; refuse what this droplab does not know."""
        tables = inspect(connection).get_table_names()
        if not tables:
            return None
        if "meta" not in tables:
            raise StoreError(
                f"{self.path}: must be a store of droplab; found a database with the tables {', '.join(tables[:4])}. "
                "Name another file with --store."
            )
        version: str | None = connection.scalar(select(meta_table.c.value).where(meta_table.c.name == "schema"))
        if version != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.path}: must be a store of schema version {SCHEMA_VERSION}; found version {version}. "
                "Use the droplab that wrote it, or name another file with --store."
            )
        return version

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._failing("read"), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        writer = self._engine.execution_options(**WRITING)
        with self._failing("written"), writer.begin() as connection:
            yield connection

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, UnicodeError) as error:
            cause = getattr(error, "orig", None) or error
            advice = _ADVICE.get(
                getattr(cause, "sqlite_errorcode", 0) & 0xFF, "Check the file, its folder and the disk."
            )
            raise StoreError(f"{self.path}: the store cannot be {what}: {_reason(cause)}. {advice}") from None

    def _decoded(self, row: Row[Any], decode: Callable[[Row[Any]], _T]) -> _T:
        try:
            return decode(row)
        except Exception as error:  # whatever damaged JSON or a damaged zip makes its reader raise
            raise StoreError(
                f"{self.path}: the record of run {row.key[:12]} must be as it was saved; found: {_reason(error)}. "
                f"`droplab runs delete {row.key[:12]}` and run the study again."
            ) from None


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _reason(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return " ".join(reason.split()).rstrip(".")
