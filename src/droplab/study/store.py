"""The store: every finished run, in SQLite or PostgreSQL, with its weights as safetensors, filed by content.

A run is one row of `runs` and one of `arrays` (what is bulky: curves and ledger); all runs of a pack are written in one
transaction, which also deletes what `plans` says of them. Their weights are written before that, whole or not at all,
so that a committed row always has them; a process that dies in between leaves files that no row refers to, which
`disk_use` counts and a later `delete` removes, as it does checkpoints of packs of which no run is planned any more.

Nothing is believed because it can be read: rows carry digests and weights are named by their hash, so that damage costs
a training, and never makes a figure. Who trains what is claimed in `plans`.

Writers have the database to themselves before they look (`Database.writing`), and only who has it removes weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Column,
    Connection,
    Row,
    Select,
    Table,
    case,
    delete,
    func,
    select,
    update,
)

from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.disk import at_once
from droplab.errors import DroplabError, ModelFileError, StoreAwayError, StoreBusyError, StoreError
from droplab.model.file import ModelInfo, from_bytes, to_bytes
from droplab.study.claims import LEASE_SECONDS, Owner
from droplab.study.database import reason
from droplab.study.files import NAME, DiskUse, Files, checked
from droplab.study.folders import beside
from droplab.study.location import database_at
from droplab.study.pieces import Pieces
from droplab.study.plan import Run
from droplab.study.postgresql import PostgreSQL
from droplab.study.records import (
    Planned,
    RunRecord,
    RunSummary,
    card_of,
    labels_of,
    model_info,
    pack_arrays,
    pack_labels,
    plan_row,
    planned_of,
    record_of,
    row_of,
    summary_of,
)
from droplab.study.remote import files_at, files_url, prove
from droplab.study.rows import RECORD, needed
from droplab.study.schema import (
    LISTED,
    arrays_table,
    datasets_table,
    is_sound,
    labels_table,
    looks_table,
    meta_table,
    plans_table,
    prepare,
    runs_table,
    sealed,
    suspects_table,
)
from droplab.study.sqlite import SQLite
from droplab.train.checkpoint import Place
from droplab.train.outcome import Trained

_T = TypeVar("_T")
_P = ParamSpec("_P")
_CHUNK = 500  # keys a query: SQLite takes 999 variables before 3.32


def _waiting(question: Callable[Concatenate[Store, _P], _T]) -> Callable[Concatenate[Store, _P], _T]:
    """Have a method of one transaction wait for a database that is away."""

    @wraps(question)
    def ask(self: Store, *arguments: _P.args, **named: _P.kwargs) -> _T:
        return self._database.waited(lambda: question(self, *arguments, **named))

    return ask  # type: ignore[return-value]


class Store:
    """All runs that were ever finished, and how those under way are to be.

    Any number of processes may use one store at the same time. Use it in a `with` block, or `close` it.

    Args:
        location: as `location.database_at` takes it. A file and its folder are made where they are missing; a database
            on a server must be there, its tables are made.
        files: where weights and checkpoints are kept, a path or a URL of fsspec's, that all machines reach. It is
            chosen when a store is new, and known from then on. Without it they lie in `<stem>-weights` and
            `<stem>-checkpoints` beside a file (where these are another store's, the names have eight digits more), and
            in the database on a server.
        notice: told that a server is waited for that does not answer.

    Attributes:
        name: of the database, where something is said of it.
        files: weights and checkpoints.

    Raises:
        StoreError: if it is no droplab store, is damaged, comes from a newer droplab, or cannot be read; or if its
            files are elsewhere. Every method raises it for a database or disk that fails it, and every one that writes,
            for a store that can only be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/store.sqlite") as store:
        ...     store.finished(["0" * 64])
        set()
    """

    def __init__(
        self,
        location: str | Path | None = None,
        files: str | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database: SQLite | PostgreSQL = database_at(location)
        self._database.notice = notice
        self.name, self.owner = self._database.name, Owner()
        wanted = None if files is None else files_url(files)
        try:
            self._database.make()
            prepare(self._database)
            self._database.settle()
            self.files = self._settled(wanted)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path | None:
        """The file of a store in SQLite."""
        return self._database.path if isinstance(self._database, SQLite) else None

    @property
    def database(self) -> SQLite | PostgreSQL:
        """What it is kept in: for what goes through all of its rows."""
        return self._database

    @property
    def identity(self) -> str:
        """What tells it from any other."""
        with self._database.reading() as connection:
            return _meta(connection)["identity"]

    @contextmanager
    def waiting_until(self, stopping: Callable[[], bool]) -> Iterator[None]:
        """Have all waiting for a server that is away end once `stopping` is true."""
        before, self._database.stopping = self._database.stopping, stopping
        try:
            yield
        finally:
            self._database.stopping = before

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @_waiting
    def finished(self, keys: Iterable[str]) -> set[str]:
        """Which of `keys` the store has."""
        with self._database.reading() as connection:
            return _those_in(connection, runs_table.c.key, keys)

    @_waiting
    def damaged(self, keys: Iterable[str]) -> dict[str, str]:
        """Those of `keys` that the store has and that turn out not to be as they were saved: why not.

        Looked into, by `check`, are those of which whoever read them said so, and those whose weights are not there, or
        of another size: reading all of a large study takes longer than to train a small one.
        """
        wanted = set(keys)
        with self._database.reading() as connection:
            suspects = wanted.intersection(connection.scalars(select(suspects_table.c.key)))
            columns = select(runs_table.c.key, runs_table.c.weights_hash, runs_table.c.weights_bytes)
            runs = [tuple(row) for row in _rows(connection, columns, wanted)]
        sizes = self.files.there("weights", (name for _, name, _ in runs))
        suspects |= {key for key, name, size in runs if sizes.get(name) != size}
        faults = self.check(suspects)
        if sound := suspects - faults.keys():
            with suppress(StoreError), self._database.writing() as connection:
                _delete(connection, suspects_table.c.key, sound)
        return faults

    @_waiting
    def check(self, keys: Iterable[str]) -> dict[str, str]:
        """Read those of `keys` that the store has, their weights, too; why those are damaged that are."""
        with self._database.reading() as connection:
            found, faults = self._records(connection, keys)

        def read(record: RunRecord) -> None:
            try:
                self.read_model(record)
            except StoreAwayError:  # which says nothing of the weights
                raise
            except StoreError as error:
                faults[record.key] = str(error)

        at_once(read, found.values())
        self._suspect(faults)
        return faults

    @_waiting
    def planned(self, keys: Iterable[str]) -> dict[str, Planned]:
        """How those of `keys` that are planned and not finished are to be executed; a damaged plan is none."""
        with self._database.reading() as connection:
            rows = _rows(connection, plans_table, keys)
        found: dict[str, Planned] = {}
        for row in rows:
            with suppress(Exception):  # whatever damage makes its reader raise
                found[row.key] = planned_of(row)
        return found

    @_waiting
    def claim(self, packs: Iterable[Mapping[str, Planned]], again: Collection[str] = ()) -> list[bool]:
        """Keep how the runs of packs are to be executed, and claim these for this store object, all or none of each.

        What was planned for the same keys is replaced. The claim holds for `claims.LEASE_SECONDS` and as long as it is
        renewed; `release` ends it.

        Args:
            packs: of each run, by its content key.
            again: keys of runs that are there and shall be trained once more.

        Returns:
            Of each pack, whether it is ours now; it is not if another process has a claim on one of its runs, or has
            finished one.
        """
        packs = list(packs)
        keys = {key for pack in packs for key in pack}
        with self._database.writing() as connection:
            now = self._database.now(connection)
            others = self._claimed(connection, keys).keys() | _those_in(connection, runs_table.c.key, keys - set(again))
            ours = [not others & pack.keys() for pack in packs]
            claim = {"owner": self.owner.text, "leased": now + LEASE_SECONDS}
            rows = [
                plan_row(key, planned, _stamp(now)) | claim
                for pack, mine in zip(packs, ours, strict=True)
                for key, planned in pack.items()
                if mine
            ]
            self._database.replace(connection, plans_table, rows)
        return ours

    @_waiting
    def claimed(self, keys: Iterable[str]) -> dict[str, Owner]:
        """Those of `keys` on which another process has a claim, and which: they are being trained there."""
        with self._database.reading() as connection:
            return self._claimed(connection, keys)

    def renew(self) -> None:
        """Have this store object's claims hold for `claims.LEASE_SECONDS` from now."""
        self._lease(LEASE_SECONDS)

    def release(self) -> None:
        """End this store object's claims; what was planned stays."""
        self._lease(-LEASE_SECONDS)

    def forget(self) -> int:
        """Forget every run that is planned and not finished, with its checkpoints; return how many there were."""
        with self._database.reading() as connection:
            keys = connection.scalars(select(plans_table.c.key)).all()
        return self._delete(keys, (plans_table,))

    def save(self, run: Run, dataset: Dataset, trained: Trained) -> None:
        """File one finished run, as `save_pack` does."""
        self.save_pack([(run, trained)], dataset)

    def save_pack(
        self, results: Sequence[tuple[Run, Trained]], dataset: Dataset, patience: float | None = None
    ) -> None:
        """File the finished runs of a pack with their weights and drop what was planned for them, all or none.

        Of runs that another process has filed meanwhile, what is there stays, unless it is damaged.

        Args:
            results: each run once.
            dataset: the data of all.
            patience: seconds to wait for another process that writes; `None` for the usual minute.

        Raises:
            StoreBusyError: if that does not end in time.
            StoreError: if they cannot be written; nothing finished is lost by it, and no run is there in part.
            ModelFileError: if weights are not those of their run's network; nothing is written then.
        """
        self._database.check_writable()
        rows = [row_of(run, dataset, trained.outcome) for run, trained in results]
        bulk = [pack_arrays(trained.outcome) for _, trained in results]
        for row, columns in zip(rows, self._write_weights(results, dataset), strict=True):
            row.update(columns)
        keys = [run.key for run, _ in results]
        damaged = self.check(keys)
        with self._database.writing(*([] if patience is None else [patience])) as connection:
            there = _those_in(connection, runs_table.c.key, keys) - damaged.keys()
            new = [place for place, key in enumerate(keys) if key not in there]
            # Under the lock, so that runs are listed in the order in which they came to be there.
            now = _stamp(self._database.now(connection))
            runs = [sealed(runs_table, rows[place] | {"finished": now}) for place in new]
            arrays = [
                sealed(arrays_table, {"key": row["key"], "npz": bulk[place]}, row)
                for place, row in zip(new, runs, strict=True)
            ]
            if new:
                self._keep_data(connection, dataset)
            self._database.replace(connection, runs_table, runs)
            self._database.replace(connection, arrays_table, arrays)
            _delete(connection, plans_table.c.key, keys)
            _delete(connection, suspects_table.c.key, damaged)
            # Another process's `delete` may have seen no row for some weights yet, and one that came first has its own.
            kept = self.files.there("weights", [row["weights_hash"] for row in runs])
            if lost := [results[place] for place in new if rows[place]["weights_hash"] not in kept]:
                self._write_weights(lost, dataset)
            second = {row["weights_hash"] for row in rows if row["key"] in there}
            self._remove_weights(connection, second)

    @_waiting
    def keep_data(self, dataset: Dataset) -> None:
        """Keep what is told of a data set, and its test labels, unless they are there and as they were saved."""
        with self._database.reading() as connection:
            if _has_data(connection, dataset.fingerprint):
                return
        with self._database.writing() as connection:
            self._keep_data(connection, dataset)

    @_waiting
    def load(self, keys: Iterable[str], notify: Callable[[str], None] | None = None) -> dict[str, RunRecord]:
        """Load the records of those of `keys` that the store has, in the order given.

        Args:
            keys: of the runs.
            notify: told of each record that is damaged, which is left out.

        Raises:
            StoreError: without `notify`, if a record is damaged; it is named.
        """
        with self._database.reading() as connection:
            found, faults = self._records(connection, keys)
        self._told(faults, notify)
        return found

    @_waiting
    def datasets(self, name: str) -> list[DatasetCard]:
        """The data sets of that name that runs were trained on; those whose row is damaged are left out."""
        query = select(datasets_table).where(datasets_table.c.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [card_of(row) for row in rows if is_sound(datasets_table, row._mapping)]

    @_waiting
    def looks(self, study: str) -> list[tuple[int, ...]]:
        """The seeds of each look at a study, sorted, in their order; none of one that is damaged, which counts, too.

        Args:
            study: its `Plan.identity`.
        """
        with self._database.reading() as connection:
            rows = connection.execute(select(looks_table).order_by(looks_table.c.number)).all()
        sound = [is_sound(looks_table, row._mapping) for row in rows]
        mine = [row for row, whole in zip(rows, sound, strict=True) if whole and row.study == study]
        return [*(tuple(json.loads(row.seeds)) for row in mine), *((),) * sound.count(False)]

    @_waiting
    def keep_look(self, study: str, seeds: tuple[int, ...]) -> None:
        """Keep that a study was looked at with these seeds, unless it is known.

        Args:
            study: its `Plan.identity`.
            seeds: of each arm that was compared, sorted.
        """
        if seeds in self.looks(study):
            return
        with self._database.writing() as connection:
            last = connection.scalar(select(func.max(looks_table.c.number)).where(looks_table.c.study == study)) or 0
            row = sealed(looks_table, {"study": study, "seeds": json.dumps(seeds), "number": last + 1})
            self._database.replace(connection, looks_table, [row])

    def checkpoint(self, pack: str) -> Place:
        """Where the checkpoint of a pack is kept.

        Raises:
            ValueError: if that can be no pack's name.
        """
        return self.files.place("checkpoints", pack)

    def drop_checkpoint(self, pack: str) -> None:
        """Remove the checkpoint of a pack, if there is one, whole or half-written; raises as `checkpoint`."""
        self.files.remove("checkpoints", [checked(pack)])

    @_waiting
    def read_model(self, record: RunRecord) -> bytes:
        """The model file of a run, checked against the hash under which it is filed.

        Raises:
            StoreError: if the file is missing or damaged.
            StoreAwayError: if the place of files does not answer.
        """
        try:
            model = self.files.read("weights", record.weights_hash)
            fault = "" if hashlib.sha256(model).hexdigest() == record.weights_hash else "its bytes have changed"
        except StoreAwayError:
            raise
        except DroplabError as error:
            fault = reason(error)
        if fault:
            self._suspect([record.key])
            raise StoreError(
                f"{self.where(record)}: must hold the weights of run {record.key[:12]} as they were saved; found: "
                f"{fault}. Run the study again, which trains it anew."
            )
        return model

    def where(self, record: RunRecord) -> str:
        """Where the model file of a run lies, for people to read."""
        return self.files.where("weights", record.weights_hash)

    def read_weights(self, record: RunRecord) -> tuple[dict[str, NDArray[np.float32]], ModelInfo]:
        """The weights of a run and what its network is; raises as `read_model`."""
        return from_bytes(self.read_model(record), self.where(record))

    @_waiting
    def summaries(self, notify: Callable[[str], None] | None = None) -> Sequence[RunSummary]:
        """All runs, in the order in which they were finished; `notify` as of `load`."""
        with self._database.reading() as connection:
            metrics = case((runs_table.c.test_accuracy.is_(None), runs_table.c.metrics)).label("numbers")
            query: Select[Any] = select(*LISTED, metrics).order_by(runs_table.c.finished, runs_table.c.key)
            rows = connection.execute(query).all()
        faults: dict[str, str] = {}
        found = [summary for row in rows if (summary := self._of_run(row, summary_of, faults)) is not None]
        self._told(faults, notify)
        return found

    @_waiting
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
                f"{self.name}: must hold the run asked for; found no key that begins with {prefix!r}. "
                "See `droplab runs list`."
            )
        raise StoreError(
            f"a key's beginning must name one run; found {', '.join(key[:16] for key in keys)} … for {prefix!r}. "
            "Give more digits."
        )

    def delete(self, keys: Iterable[str]) -> int:
        """Delete runs and plans with their files; return how many runs there were.

        What has been of no use to anybody for an hour is removed, too, where the folders are this store's.
        """
        return self._delete(list(keys), (suspects_table, plans_table, arrays_table, runs_table))

    def disk_use(self) -> DiskUse:
        """Count what the store takes on disk."""
        with self._database.reading() as connection:
            runs, planned = (
                connection.scalar(select(func.count()).select_from(table)) or 0 for table in (runs_table, plans_table)
            )
            weights, checkpoints = (list(self.files.listed(kind, names)) for kind, names in needed(connection))
        orphans = [file for file in (*weights, *checkpoints) if file.orphan]
        kept = [file for file in checkpoints if not file.orphan]
        return DiskUse(
            runs=runs,
            database_bytes=self._database.size,
            weights_bytes=sum(file.size for file in weights if not file.orphan),
            orphans=len(orphans),
            orphan_bytes=sum(file.size for file in orphans),
            planned=planned,
            checkpoints=sum(not file.part for file in kept),
            checkpoint_bytes=sum(file.size for file in kept),
        )

    def _settled(self, wanted: str | None) -> Files:
        """The store's files: where they are known to be, or, for a new store, are wanted.

        Raises:
            StoreError: if they are wanted elsewhere than they are.
        """
        with self._database.reading() as connection:
            meta = _meta(connection)
        url = meta.get("files", "")
        if wanted is not None and wanted != url:
            with self._database.writing() as connection:
                url = _meta(connection).get("files", "")  # another process may have come first
                if wanted != url and any(
                    connection.scalar(select(table.c.key).limit(1)) for table in (runs_table, plans_table)
                ):
                    raise StoreError(
                        f"{self.name}: its files are in {url or 'their usual place'}, where they must stay; found "
                        f"--files {wanted}. Leave it out, or copy the store: droplab store copy FROM TO --files …"
                    )
                prove(files_at(wanted, meta["identity"]))
                self._database.replace(connection, meta_table, [{"name": "files", "value": wanted}])
            url = wanted
        if url:
            return files_at(url, meta["identity"])
        database = self._database
        return Pieces(database) if isinstance(database, PostgreSQL) else self._folders(database)

    def _folders(self, database: SQLite) -> Files:
        """Those beside a file, marked as its own; with other names from now on where they turn out to be another's."""
        with database.reading() as connection:
            meta = _meta(connection)
        folders = beside(database.path, meta.get("identity", ""), meta.get("suffix", ""))
        if database.read_only or folders.are_ours:
            return folders
        with database.writing() as connection:
            meta = _meta(connection)  # another process may have come first
            empty = connection.scalar(select(runs_table.c.key).limit(1)) is None
            folders = before = beside(database.path, meta.get("identity", ""), meta.get("suffix", ""))
            if before.are_anothers(database.path, empty):
                suffix = f"-{uuid.uuid4().hex[:8]}"
                folders = beside(database.path, meta.get("identity", ""), suffix)
                folders.take(connection.scalars(select(runs_table.c.weights_hash)), before)
                connection.execute(update(meta_table).where(meta_table.c.name == "suffix").values(value=suffix))
            with suppress(OSError, DroplabError):  # without a mark nothing in them is ever removed
                folders.claim()
        return folders

    def _claimed(self, connection: Connection, keys: Iterable[str]) -> dict[str, Owner]:
        found: dict[str, Owner] = {}
        now = self._database.now(connection)
        for row in _rows(connection, plans_table, keys):
            with suppress(ValueError):  # a damaged claim is none
                owner = Owner.of(row.owner)
                if owner != self.owner and row.leased > now and not owner.is_dead:
                    found[row.key] = owner
        return found

    def _lease(self, seconds: float) -> None:
        with self._database.writing() as connection:
            until = self._database.now(connection) + seconds
            mine = plans_table.c.owner == self.owner.text
            connection.execute(update(plans_table).where(mine).values(leased=until))

    def _delete(self, keys: Sequence[str], tables: Sequence[Table]) -> int:
        """Delete the rows of `keys` in `tables`, and the files that only they needed; how many the last table had."""
        with self._database.writing() as connection:
            packs = {row.pack for row in _rows(connection, plans_table, keys)}
            hashes = (
                {row.weights_hash for row in _rows(connection, runs_table, keys)} if runs_table in tables else set()
            )
            deleted = 0
            for table in tables:
                deleted = _delete(connection, table.c.key, keys)
            self._remove_weights(connection, hashes)
            over = packs - _those_in(connection, plans_table.c.pack, packs)
            self.files.remove("checkpoints", filter(NAME.fullmatch, over))  # a damaged name is that of no file
            for kind, names in needed(connection):
                self.files.sweep(kind, names)
        return deleted

    def _remove_weights(self, connection: Connection, hashes: Collection[str]) -> None:
        """Remove weights of runs that are no longer there, unless another run has them."""
        if hashes:
            with suppress(StoreError):  # what cannot be removed is swept later
                self.files.remove("weights", set(hashes) - _those_in(connection, runs_table.c.weights_hash, hashes))

    def _records(self, connection: Connection, keys: Iterable[str]) -> tuple[dict[str, RunRecord], dict[str, str]]:
        """The sound ones of `keys` in their order, and what is wrong with others."""
        wanted, faults = list(dict.fromkeys(keys)), dict[str, str]()
        read = (self._of_run(row, record_of, faults) for row in _rows(connection, RECORD, wanted))
        found = {record.key: record for record in read if record is not None}
        labels = self._labels(connection, {record.fingerprint for record in found.values()})
        sound: dict[str, RunRecord] = {}
        for key in wanted:
            if key in found:
                record = replace(found[key], test_labels=labels.get(found[key].fingerprint))
                if record.disagrees:
                    faults[key] = self._fault(key, "its accuracy is not that of its predictions")
                else:
                    sound[key] = record
        return sound, faults

    def _labels(self, connection: Connection, fingerprints: set[str]) -> dict[str, NDArray[np.unsignedinteger]]:
        """The test labels of data sets, of those that have them here."""
        found = {}
        for row in _rows(connection, labels_table, fingerprints):
            try:
                found[row.fingerprint] = labels_of(row)
            except Exception as error:  # whatever damage makes its reader raise
                raise StoreError(
                    f"{self.name}: the test labels of data {row.fingerprint[:12]} must be as they were saved; found: "
                    f"{reason(error)}. Run a study of these data again, which saves them anew."
                ) from None
        return found

    def _keep_data(self, connection: Connection, dataset: Dataset) -> None:
        if _has_data(connection, dataset.fingerprint):
            return
        card = asdict(dataset.card)
        card |= {"classes": json.dumps(dataset.classes), "look": json.dumps(card["look"])}
        self._database.replace(connection, datasets_table, [sealed(datasets_table, card)])
        labels = {"fingerprint": dataset.fingerprint, "npz": pack_labels(dataset)}
        self._database.replace(connection, labels_table, [sealed(labels_table, labels)])

    def _write_weights(self, results: Sequence[tuple[Run, Trained]], dataset: Dataset) -> list[dict[str, Any]]:
        """Write the model files of runs; return their columns of `runs`."""
        columns: list[dict[str, Any]] = []

        def models() -> Iterator[tuple[str, bytes]]:
            for run, trained in results:
                model = to_bytes(trained.weights, model_info(run, dataset))
                columns.append({"weights_hash": hashlib.sha256(model).hexdigest(), "weights_bytes": len(model)})
                yield columns[-1]["weights_hash"], model

        try:
            self.files.write("weights", models())
        except (StoreBusyError, ModelFileError):
            raise
        except DroplabError as error:
            raise StoreError(f"the weights of a run cannot be kept: {reason(error)}.") from None
        return columns

    def _of_run(self, row: Row[Any], decode: Callable[[Row[Any]], _T], faults: dict[str, str]) -> _T | None:
        try:
            return decode(row)
        except Exception as error:  # whatever damaged JSON or a damaged zip makes its reader raise
            faults[row.key] = self._fault(row.key, reason(error))
            return None

    def _fault(self, key: str, fault: str) -> str:
        return (
            f"{self.name}: the record of run {key[:12]} must be as it was saved; found: {fault}. Run the study again, "
            f"which trains it anew, or `droplab runs delete {key[:12]}`."
        )

    def _told(self, faults: Mapping[str, str], notify: Callable[[str], None] | None) -> None:
        """Tell of damaged runs, or raise that of the first, and have the next study look into them."""
        self._suspect(faults)
        for fault in faults.values():
            if notify is None:
                raise StoreError(fault)
            notify(fault)

    def _suspect(self, keys: Collection[str]) -> None:
        """Keep that runs were not as they were saved when they were read, where that can be kept."""
        if keys:
            with suppress(StoreError), self._database.writing() as connection:
                self._database.replace(connection, suspects_table, [{"key": key} for key in keys])


def _stamp(seconds: float) -> str:
    """A time, seconds since 1970, as rows have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _meta(connection: Connection) -> dict[str, str]:
    return {str(row.name): str(row.value) for row in connection.execute(select(meta_table))}


def _rows(connection: Connection, what: Table | Select[Any], keys: Iterable[str]) -> list[Row[Any]]:
    """The rows of a table, or of a query that begins with one, of which the primary key is one of `keys`."""
    query = select(what) if isinstance(what, Table) else what
    (primary,) = (what if isinstance(what, Table) else runs_table).primary_key
    return [row for chunk in _chunks(keys) for row in connection.execute(query.where(primary.in_(chunk)))]


def _has_data(connection: Connection, fingerprint: str) -> bool:
    """Whether a data set's card and labels are there as they were saved."""
    found = [(table, _rows(connection, table, [fingerprint])) for table in (datasets_table, labels_table)]
    return all(rows and is_sound(table, rows[0]._mapping) for table, rows in found)


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
