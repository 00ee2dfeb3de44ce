"""What in a store is damaged, missing or left over, and how that is mended: what is lost will be trained anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Table, delete, func, select

from droplab.study.files import NAME
from droplab.study.rows import batches, is_whole, needed, records, without_weights
from droplab.study.schema import (
    arrays_table,
    datasets_table,
    is_sound,
    labels_table,
    looks_table,
    plans_table,
    runs_table,
)
from droplab.study.store import Store
from droplab.train.checkpoint import is_checkpoint

_ANEW = "deleted; the next study that needs them trains them anew"
_DATA = "none: the next study of these data saves them anew"
_REMOVED = "removed"
_MENDING = {
    "faults of the database file": "none: move the file away, or put a copy from a backup in its place",
    "damaged data sets": _DATA,
    "damaged test labels": _DATA,
    "data sets or labels that runs lack": _DATA,
    "damaged runs": _ANEW,
    "runs without their weights": _ANEW,
    "arrays without a run": _REMOVED,
    "damaged looks": "none: each counts as a look at its study",
    "damaged plans": _REMOVED,
    "plans of finished runs": _REMOVED,
    "damaged checkpoints": "removed; their networks begin anew",
    "files that nothing needs": _REMOVED,
}


class Finding(NamedTuple):
    """A kind of fault.

    Attributes:
        what: is wrong.
        times: how often.
        example: the first, by its name.
        mending: what `check_store` with `mend` does about it.
    """

    what: str
    times: int
    example: str
    mending: str

    @property
    def can_be_mended(self) -> bool:
        """Whether mending does anything."""
        return not self.mending.startswith("none")


@dataclass
class _Found:
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, Any] = field(default_factory=dict)  # the digest of each that is to go, by key
    plans: dict[str, Any] = field(default_factory=dict)
    packs: list[str] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)


def check_store(
    store: Store, mend: bool = False, progress: Callable[[int, int], None] = lambda *_: None
) -> list[Finding]:
    """Read all of a store, files too, and find what is wrong with it.

    A study may be at work in it: what it has claimed is left alone, as are files that are younger than an hour.

    Args:
        store: need not be writable, unless it is mended.
        mend: whether to mend what can be.
        progress: told how many runs of how many have been looked at.

    Returns:
        What is wrong, or was before it was mended; nothing if all is well.
    """
    found = _Found()
    _check_file(store, found)
    _check_runs(store, found, progress)
    _check_data(store, found)
    _check_plans(store, found)
    with store.database.reading() as connection:
        for kind, names in needed(connection):
            found.faults["files that nothing needs"] += [
                store.files.where(kind, file.name) for file in store.files.listed(kind, names) if file.orphan
            ]
    if mend:
        store.database.waited(lambda: _mend(store, found))
    return [
        Finding(what, len(examples), examples[0], mending)
        for what, mending in _MENDING.items()
        if (examples := found.faults.get(what))
    ]


def _check_file(store: Store, found: _Found) -> None:
    if store.path is None:  # a server looks after its own
        return
    with store.database.reading() as connection:
        said = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    found.faults["faults of the database file"] += [str(line) for line in said if line != "ok"]
    found.faults["faults of the database file"] += [f"a row of {row[0]} without its {row[2]}" for row in lost]


def _check_runs(store: Store, found: _Found, progress: Callable[[int, int], None]) -> None:
    with store.database.reading() as connection:
        count = connection.scalar(select(func.count()).select_from(runs_table)) or 0
        bare = select(arrays_table.c.key).where(arrays_table.c.key.not_in(select(runs_table.c.key)))
        found.arrays += connection.scalars(bare).all()
    found.faults["arrays without a run"] += found.arrays
    seen = 0
    for rows in batches(store.database, runs_table):
        if wrong := _faults_of(store, rows):  # looked at again: another process may just have written or deleted it
            again = records(store.database, wrong)
            for key, what in _faults_of(store, again).items():
                found.faults[what].append(f"run {key[:12]}")
            found.runs |= {row.key: row.digest for row in again if row.key in wrong}
        seen += len(rows)
        progress(seen, max(seen, count))


def _faults_of(store: Store, runs: Iterable[Row[Any]]) -> dict[str, str]:
    """What is wrong with runs, by key."""
    whole = {row.key: row for row in runs if is_whole(row._mapping)}
    faults = {row.key: "damaged runs" for row in runs if row.key not in whole}
    return faults | dict.fromkeys(without_weights(store.files, whole.values()), "runs without their weights")


def _check_data(store: Store, found: _Found) -> None:
    for table, what in ((datasets_table, "damaged data sets"), (labels_table, "damaged test labels")):
        for rows in batches(store.database, table):
            wrong = [row for row in rows if not is_sound(table, row._mapping)]
            found.faults[what] += [f"data {str(row.fingerprint)[:12]}" for row in wrong]
    with store.database.reading() as connection:
        lacking: set[str] = set()
        for table in (datasets_table, labels_table):
            there = select(table.c.fingerprint)
            query = select(runs_table.c.fingerprint).where(runs_table.c.fingerprint.not_in(there)).distinct()
            lacking.update(connection.scalars(query))
        looks = connection.execute(select(looks_table)).all()
    found.faults["data sets or labels that runs lack"] += [f"data {name[:12]}" for name in sorted(lacking)]
    wrong = [look for look in looks if not is_sound(looks_table, look._mapping)]
    found.faults["damaged looks"] += [f"study {str(look.study)[:12]}" for look in wrong]


def _check_plans(store: Store, found: _Found) -> None:
    packs: set[str] = set()
    with store.database.reading() as connection:
        claimed = _claimed(store, connection)
        plans = [row for row in connection.execute(select(plans_table)) if row.key not in claimed]
        keys = select(plans_table.c.key).where(plans_table.c.key.in_(select(runs_table.c.key)))
        finished = set(connection.scalars(keys)) - found.runs.keys()
        busy = {row.pack for row in connection.execute(select(plans_table)) if row.key in claimed}
    for row in plans:
        sound = is_sound(plans_table, row._mapping)
        if not sound or row.key in finished:
            what = "plans of finished runs" if sound else "damaged plans"
            found.faults[what].append(f"run {str(row.key)[:12]}")
            found.plans[row.key] = row.digest
        else:
            packs.add(row.pack)
    for pack in sorted(packs - busy):
        content = store.checkpoint(pack).read()
        if content is not None and not is_checkpoint(content, pack):
            found.faults["damaged checkpoints"].append(store.files.where("checkpoints", pack))
            found.packs.append(pack)


def _claimed(store: Store, connection: Connection) -> set[str]:
    """The keys of plans on which somebody has a claim."""
    return set(
        connection.scalars(select(plans_table.c.key).where(plans_table.c.leased > store.database.now(connection)))
    )


def _mend(store: Store, found: _Found) -> None:
    """Delete what is as it was found, and nobody has claimed meanwhile."""
    with store.database.writing() as connection:
        claimed = _claimed(store, connection)
        hashes = {row.weights_hash for row in _still(connection, runs_table, found.runs, claimed)}
        keys = [row.key for row in _still(connection, runs_table, found.runs, claimed)]
        _delete(connection, arrays_table, [*keys, *found.arrays])
        _delete(connection, runs_table, keys)
        _delete(connection, plans_table, [row.key for row in _still(connection, plans_table, found.plans, claimed)])
        wanted = dict(needed(connection))
        store.files.remove("weights", filter(NAME.fullmatch, hashes - wanted["weights"]))
        busy = {row.pack for row in connection.execute(select(plans_table)) if row.key in claimed}
        store.files.remove("checkpoints", [pack for pack in found.packs if pack not in busy])
        for kind, names in wanted.items():
            store.files.sweep(kind, names)


def _still(connection: Connection, table: Table, digests: dict[str, Any], claimed: set[str]) -> list[Row[Any]]:
    """Those rows that have the digest with which they were found, and no claim."""
    (key,) = table.primary_key
    rows = [row for one in digests for row in connection.execute(select(table).where(key == one))]
    return [row for row in rows if row.digest == digests[row.key] and row.key not in claimed]


def _delete(connection: Connection, table: Table, keys: Iterable[str]) -> None:
    for key in keys:
        connection.execute(delete(table).where(table.c.key == key))
