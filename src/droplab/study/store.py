"""The store: every finished run, in SQLite, with its weights as safetensors beside it, filed by content.

A run is one row of `runs` and one of `arrays` (what is bulky: curves and ledger); all runs of a pack are written in one
transaction, which also deletes what `plans` says of them. Their weights are written before that, whole or not at all,
so that a committed row always has them; a process that dies in between leaves files that no row refers to, which
`disk_use` counts and the next `delete` removes, as it does checkpoints of packs of which no run is planned any more.

Writers take SQLite's write lock before they look (BEGIN IMMEDIATE), and only who holds it removes weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Column, ColumnElement, Connection, Row, delete, func, insert, literal_column, select
from sqlalchemy.dialects.sqlite import insert as insert_unless_there

from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.disk import open_regular, write_together
from droplab.errors import DataError, StoreError
from droplab.model.file import ModelInfo, from_bytes, to_bytes
from droplab.study.files import DiskUse, StoredFile, checkpoint_name, stored_files, weights_name
from droplab.study.plan import Run
from droplab.study.records import (
    SUMMARY_COLUMNS,
    Planned,
    RunRecord,
    RunSummary,
    card_of,
    check_pack_name,
    model_info,
    pack_arrays,
    pack_labels,
    plan_row,
    planned_of,
    record_of,
    row_of,
    summary_of,
    unpack_labels,
)
from droplab.study.schema import arrays_table, datasets_table, labels_table, plans_table, prepare, runs_table
from droplab.study.sqlite import Database, reason, store_path
from droplab.train.outcome import Trained

_T = TypeVar("_T")
_CHUNK = 500  # keys a query: SQLite takes 999 variables before 3.32
_FILE_CARD = insert_unless_there(datasets_table).on_conflict_do_nothing()
_FILE_LABELS = insert_unless_there(labels_table).on_conflict_do_nothing()
_PLAN = insert_unless_there(plans_table)
_KEEP_PLAN = _PLAN.on_conflict_do_update(
    index_elements=["key"], set_={name: _PLAN.excluded[name] for name in ("way", "pack", "planned")}
)


class Store:
    """All runs that were ever finished, and how those under way are to be.

    Any number of processes may use one store at the same time. Use it in a `with` block, or `close` it.

    Args:
        location: as `store_path` takes it. The file and its folder are made where they are missing; the weights lie
            in `<stem>-weights` beside it, the checkpoints in `<stem>-checkpoints`.

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
        self._database = Database(self.path)
        prepare(self._database)
        self._database.use_write_ahead_log()

    @property
    def checkpoints_folder(self) -> Path:
        """Where packs under way keep `<pack>.safetensors`; who writes the first one makes it."""
        return self.path.with_name(f"{self.path.stem}-checkpoints")

    def close(self) -> None:
        """Let go of the database."""
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finished(self, keys: Iterable[str]) -> set[str]:
        """Which of `keys` the store has."""
        with self._database.reading() as connection:
            return _those_in(connection, runs_table.c.key, keys)

    def planned(self, keys: Iterable[str]) -> dict[str, Planned]:
        """How those of `keys` that are planned and not finished are to be executed.

        Raises:
            StoreError: also if a plan is damaged.
        """
        advice = "`droplab runs forget`, and run the study again."
        with self._database.reading() as connection:
            return {
                row.key: self._decoded(row, planned_of, "plan", advice)
                for chunk in _chunks(keys)
                for row in connection.execute(select(plans_table).where(plans_table.c.key.in_(chunk)))
            }

    def keep_plan(self, rows: Mapping[str, Planned]) -> None:
        """Keep how runs are to be executed, all or none; what was planned for the same keys is replaced.

        Runs that were finished meanwhile are left out: `plans` never holds what `runs` does.
        """
        now = _now()
        values = [plan_row(key, planned) | {"planned": now} for key, planned in rows.items()]
        if not values:
            return
        with self._database.writing() as connection:
            connection.execute(_KEEP_PLAN, values)
            connection.execute(
                delete(plans_table).where(
                    select(runs_table.c.key).where(runs_table.c.key == plans_table.c.key).exists()
                )
            )

    def forget(self) -> int:
        """Forget every run that is planned and not finished, with its checkpoints; return how many there were."""
        with self._database.writing() as connection:
            forgotten = connection.execute(delete(plans_table)).rowcount
        self._sweep()
        return forgotten

    def save(self, run: Run, dataset: Dataset, trained: Trained) -> None:
        """File one finished run, as `save_pack` does."""
        self.save_pack([(run, trained)], dataset)

    def save_pack(self, results: Sequence[tuple[Run, Trained]], dataset: Dataset) -> None:
        """File the finished runs of a pack with their weights and drop what was planned for them, all or none.

        Of runs that another process has filed meanwhile, what is there stays.

        Args:
            results: each run once.
            dataset: the data of all.

        Raises:
            StoreError: if they cannot be written; nothing finished is lost by it, and no run is there in part.
            ModelFileError: if weights are not those of their run's network; nothing is written then.
        """
        rows = [row_of(run, dataset, trained.outcome) for run, trained in results]
        arrays = [{"key": run.key, "npz": pack_arrays(trained.outcome)} for run, trained in results]
        for row, columns in zip(rows, self._write_weights(results, dataset), strict=True):
            row.update(columns)
        keys = [run.key for run, _ in results]
        labels = {"fingerprint": dataset.fingerprint, "npz": pack_labels(dataset)}
        card = asdict(dataset.card)
        card |= {"classes": json.dumps(dataset.classes), "look": json.dumps(card["look"])}
        with self._database.writing() as connection:
            there = _those_in(connection, runs_table.c.key, keys)
            new = [place for place, key in enumerate(keys) if key not in there]
            if new:
                now = _now()  # under the lock, so that runs are listed in the order in which they came to be there
                connection.execute(_FILE_CARD, card)
                connection.execute(_FILE_LABELS, labels)
                connection.execute(insert(runs_table), [rows[place] | {"finished": now} for place in new])
                connection.execute(insert(arrays_table), [arrays[place] for place in new])
            _delete(connection, plans_table.c.key, keys)
            # Another process's `delete` may have seen no row for some weights yet, and one that came first has its own.
            lost = [results[place] for place in new if not self.weights_path(rows[place]["weights_hash"]).exists()]
            if lost:
                self._write_weights(lost, dataset)
            second = {row["weights_hash"] for row in rows if row["key"] in there}
            for weights_hash in second - _those_in(connection, runs_table.c.weights_hash, second):
                self.weights_path(weights_hash).unlink(missing_ok=True)

    def load(self, keys: Iterable[str]) -> dict[str, RunRecord]:
        """Load the records of those of `keys` that the store has, in the order given.

        Raises:
            StoreError: also if a record is damaged; it is named.
        """
        wanted = list(dict.fromkeys(keys))
        query = select(runs_table, arrays_table.c.npz).join(arrays_table, isouter=True)
        found: dict[str, RunRecord] = {}
        with self._database.reading() as connection:
            for chunk in _chunks(wanted):
                for row in connection.execute(query.where(runs_table.c.key.in_(chunk))):
                    found[row.key] = self._of_run(row, record_of)
            labels = self._labels(connection, {record.fingerprint for record in found.values()})
        return {
            key: replace(found[key], test_labels=labels.get(found[key].fingerprint)) for key in wanted if key in found
        }

    def datasets(self, name: str) -> list[DatasetCard]:
        """The data sets of that name that runs were trained on."""
        query = select(datasets_table).where(datasets_table.c.name == name)
        with self._database.reading() as connection:
            return [card_of(row) for row in connection.execute(query)]

    def weights_path(self, run: RunRecord | str) -> Path:
        """Where the model file of a record, or of a `weights_hash`, lies."""
        return self.weights_folder / weights_name(run if isinstance(run, str) else run.weights_hash)

    def checkpoint_path(self, pack: str) -> Path:
        """Where the checkpoint of a pack lies, if there is one.

        Raises:
            ValueError: if that can be no pack's name.
        """
        check_pack_name(pack)
        return self.checkpoints_folder / checkpoint_name(pack)

    def drop_checkpoint(self, pack: str) -> None:
        """Remove the checkpoint of a pack, if there is one; raises as `checkpoint_path`."""
        path = self.checkpoint_path(pack)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: the checkpoint cannot be removed: {reason(error)}.") from None

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
            fault = reason(error)
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
        with self._database.reading() as connection:
            rowid: ColumnElement[int] = literal_column("runs.rowid")  # runs of a pack are finished at one time
            rows = connection.execute(select(*SUMMARY_COLUMNS).order_by(runs_table.c.finished, rowid))
            return [self._of_run(row, summary_of) for row in rows]

    def resolve(self, prefix: str) -> str:
        """Return the key that begins with `prefix`.

        Raises:
            StoreError: if none does, or several do.
        """
        start = prefix.strip().lower()
        if not re.fullmatch("[0-9a-f]+", start):
            raise StoreError(f"a run's key must be hexadecimal digits; found {prefix!r}. See `droplab runs list`.")
        with self._database.reading() as connection:
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
        """Delete runs and plans, then every file that nothing needs; return how many runs there were."""
        keys = list(keys)
        with self._database.writing() as connection:
            for column in (plans_table.c.key, arrays_table.c.key):
                _delete(connection, column, keys)
            deleted = _delete(connection, runs_table.c.key, keys)
        self._sweep()
        return deleted

    def disk_use(self) -> DiskUse:
        """Count what the store takes on disk."""
        with self._database.reading() as connection:
            runs, planned = (
                connection.scalar(select(func.count()).select_from(table)) or 0 for table in (runs_table, plans_table)
            )
            weights, checkpoints = list(self._weights(connection)), list(self._checkpoints(connection))
        orphans = [file for file in (*weights, *checkpoints) if file.orphan]
        needed = [file for file in checkpoints if not file.orphan]
        parts = (self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return DiskUse(
            runs=runs,
            database_bytes=sum(part.stat().st_size for part in parts if part.exists()),
            weights_bytes=sum(file.size for file in weights if not file.orphan),
            orphans=len(orphans),
            orphan_bytes=sum(file.size for file in orphans),
            planned=planned,
            checkpoints=sum(not file.part for file in needed),
            checkpoint_bytes=sum(file.size for file in needed),
        )

    def _sweep(self) -> None:
        """Remove every file that nothing needs, once what needed it is gone for good."""
        with self._database.writing() as connection:
            for file in (*self._weights(connection), *self._checkpoints(connection)):
                if file.orphan:
                    file.path.unlink(missing_ok=True)

    def _labels(self, connection: Connection, fingerprints: set[str]) -> dict[str, NDArray[np.unsignedinteger]]:
        """The test labels of data sets, of those that have them here."""
        column, found = labels_table.c.fingerprint, {}
        rows = (
            r
            for some in _chunks(fingerprints)
            for r in connection.execute(select(labels_table).where(column.in_(some)))
        )
        for row in rows:
            try:
                found[row.fingerprint] = unpack_labels(row.npz)
            except Exception as error:  # whatever a damaged zip makes its reader raise
                raise StoreError(
                    f"{self.path}: the test labels of data {row.fingerprint[:12]} must be as they were saved; found: "
                    f"{reason(error)}. Name another store with --store, and run the study again."
                ) from None
        return found

    def _weights(self, connection: Connection) -> Iterator[StoredFile]:
        return stored_files(self.weights_folder, "??/*", set(connection.scalars(select(runs_table.c.weights_hash))))

    def _checkpoints(self, connection: Connection) -> Iterator[StoredFile]:
        packs = set(connection.scalars(select(plans_table.c.pack).distinct()))
        return stored_files(self.checkpoints_folder, "*", packs)

    def _write_weights(self, results: Sequence[tuple[Run, Trained]], dataset: Dataset) -> list[dict[str, Any]]:
        """Write the model files of runs; return their columns of `runs`."""
        columns: list[dict[str, Any]] = []

        def models() -> Iterator[tuple[str, bytes]]:
            for run, trained in results:
                model = to_bytes(trained.weights, model_info(run, dataset))
                columns.append({"weights_hash": hashlib.sha256(model).hexdigest(), "weights_bytes": len(model)})
                yield weights_name(columns[-1]["weights_hash"]), model

        try:
            write_together(self.weights_folder, models())
        except DataError as error:
            raise StoreError(f"the weights of a run cannot be kept: {reason(error)}.") from None
        return columns

    def _of_run(self, row: Row[Any], decode: Callable[[Row[Any]], _T]) -> _T:
        advice = f"`droplab runs delete {row.key[:12]}` and run the study again."
        return self._decoded(row, decode, "record", advice)

    def _decoded(self, row: Row[Any], decode: Callable[[Row[Any]], _T], what: str, advice: str) -> _T:
        try:
            return decode(row)
        except Exception as error:  # whatever damaged JSON or a damaged zip makes its reader raise
            raise StoreError(
                f"{self.path}: the {what} of run {row.key[:12]} must be as it was saved; found: {reason(error)}. "
                + advice
            ) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _those_in(connection: Connection, column: Column[Any], values: Iterable[str]) -> set[str]:
    """Which of `values` a column holds."""
    return {value for chunk in _chunks(values) for value in connection.scalars(select(column).where(column.in_(chunk)))}


def _delete(connection: Connection, column: Column[Any], values: Iterable[str]) -> int:
    """Delete the rows in which a column has one of `values`; return how many there were."""
    table = column.table
    return sum(connection.execute(delete(table).where(column.in_(chunk))).rowcount for chunk in _chunks(values))


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
