"""All that a store holds, copied into another: in batches, so that a copy that was cut off goes on where it was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Row, Table, delete, func, select

from droplab.errors import ConfigError, DroplabError, StoreAwayError
from droplab.study.rows import arrays_of, batches, is_whole, records, weights_of, without_weights
from droplab.study.schema import (
    Values,
    arrays_table,
    datasets_table,
    is_sound,
    labels_table,
    looks_table,
    plans_table,
    runs_table,
    sealed,
)
from droplab.study.store import Store
from droplab.train.checkpoint import is_checkpoint


@dataclass
class Copied:
    """What a copy came to.

    Attributes:
        new: how many of each kind are in the other store now and were not.
        there: how many were there already, as they were saved.
        faults: what was left out because it is damaged, a sentence each.
    """

    new: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def copy_store(source: Store, target: Store, progress: Callable[[int, int], None] = lambda *_: None) -> Copied:
    """Copy data sets, runs with their weights, looks, and what is planned and not finished with its checkpoints.

    Rows keep their bits and are checked by their digests, weights by their hash. What is there as it was saved stays,
    what is damaged there is replaced. Claims stay behind: nobody trains in a store that is new.

    Args:
        source: need not be writable.
        target: others may use it meanwhile, and copy into it.
        progress: told how many runs of how many have been looked at.

    Raises:
        ConfigError: if both are the same store.
        StoreError: if one cannot be read, or the other not written; what has been copied stays.
    """
    if _are_the_same(source, target):
        raise ConfigError(f"a store must be copied into another; found {source.name} as both. Name another behind it.")
    target.database.check_writable()
    copied = Copied()
    with source.database.reading() as connection:
        count = connection.scalar(select(func.count()).select_from(runs_table)) or 0
    seen = 0
    for rows in batches(source.database, runs_table):
        _copy_runs(source, target, rows, copied)
        seen += len(rows)
        progress(seen, max(seen, count))
    # After them, so that the data sets of all runs that came meanwhile are there.
    for table in (datasets_table, labels_table):
        for rows in batches(source.database, table):
            _copy_data(target, table, rows, copied)
    _copy_looks(source, target, copied)
    _copy_plans(source, target, copied)
    return copied


def _are_the_same(source: Store, target: Store) -> bool:
    if source.path and target.path:
        return source.path.samefile(target.path)
    return source.path == target.path and source.identity == target.identity


def _copy_runs(source: Store, target: Store, rows: Collection[Row[Any]], copied: Copied) -> None:
    runs: dict[str, Values] = {row.key: row._mapping for row in rows if is_whole(row._mapping)}
    copied.faults += [f"the record of run {str(row.key)[:12]} is damaged" for row in rows if row.key not in runs]
    found = {row.key: row for row in records(target.database, runs)}
    whole = {key for key, row in found.items() if is_whole(row._mapping)}
    whole -= without_weights(target.files, (found[key] for key in whole))
    copied.there["runs"] += len(whole)
    for key in whole:
        del runs[key]

    def models() -> Iterator[tuple[str, bytes]]:
        for key, run in list(runs.items()):
            try:
                yield run["weights_hash"], weights_of(source.files, run["weights_hash"])
            except StoreAwayError:
                raise
            except DroplabError:
                copied.faults.append(f"the weights of run {key[:12]} are missing or damaged")
                del runs[key]

    def write() -> int:
        with target.database.writing() as connection:
            now = connection.execute(select(runs_table.c.key, runs_table.c.digest).where(runs_table.c.key.in_(runs)))
            others = {key for key, digest in now if key not in found or digest != found[key].digest}
            new = {key: run for key, run in runs.items() if key not in others}
            target.database.replace(connection, runs_table, [_of(runs_table, run) for run in new.values()])
            target.database.replace(connection, arrays_table, [arrays_of(run) for run in new.values()])
            connection.execute(delete(plans_table).where(plans_table.c.key.in_(new)))
            # Another process's `delete` may have seen no row for some weights yet.
            names = {run["weights_hash"] for run in new.values()}
            lost = names - target.files.there("weights", names).keys()
            target.files.write("weights", ((name, weights_of(source.files, name)) for name in lost))
        return len(new)

    if runs:
        target.files.write("weights", models())
        copied.new["runs"] += target.database.waited(write)


def _copy_data(target: Store, table: Table, rows: Collection[Row[Any]], copied: Copied) -> None:
    """Copy data sets, or their labels, which need a data set that is there."""
    sound = {row.fingerprint: _of(table, row._mapping) for row in rows if is_sound(table, row._mapping)}
    what = "data sets" if table is datasets_table else "test labels"
    copied.faults += [
        f"the {what} {str(row.fingerprint)[:12]} are damaged" for row in rows if row.fingerprint not in sound
    ]

    def write() -> None:
        with target.database.writing() as connection:
            found = connection.execute(select(table).where(table.c.fingerprint.in_(sound))).all()
            there = {row.fingerprint for row in found if is_sound(table, row._mapping)}
            cards = set(connection.scalars(select(datasets_table.c.fingerprint)))
            new = [
                row
                for fingerprint, row in sound.items()
                if fingerprint not in there and (table is datasets_table or fingerprint in cards)
            ]
            target.database.replace(connection, table, new)
        copied.new[what] += len(new)
        copied.there[what] += len(there)

    target.database.waited(write)


def _copy_looks(source: Store, target: Store, copied: Copied) -> None:
    """Copy looks in their order, behind those that are there; a damaged one, too: it counts as a look."""
    with source.database.reading() as connection:
        looks = connection.execute(select(looks_table).order_by(looks_table.c.number)).all()

    def write() -> None:
        with target.database.writing() as connection:
            there = {(row.study, row.seeds): row for row in connection.execute(select(looks_table))}
            numbers = {(row.study, row.number) for row in there.values()}
            new = []
            for look in looks:
                before = there.get((look.study, look.seeds))
                if before is not None and is_sound(looks_table, before._mapping):
                    continue
                row = _of(looks_table, look._mapping)
                if not is_sound(looks_table, row):
                    if before is not None:
                        continue
                elif before is None and (look.study, look.number) in numbers:
                    last = max(number for study, number in numbers if study == look.study)
                    row = sealed(looks_table, row | {"number": last + 1})
                numbers.add((row["study"], row["number"]))
                new.append(row)
            target.database.replace(connection, looks_table, new)
        copied.new["looks"] += len(new)
        copied.there["looks"] += len(looks) - len(new)

    target.database.waited(write)
    copied.faults += [
        f"a look at study {str(look.study)[:12]} is damaged; it is copied, since it counts as a look"
        for look in looks
        if not is_sound(looks_table, look._mapping)
    ]


def _copy_plans(source: Store, target: Store, copied: Copied) -> None:
    """Copy packs of which no run is finished or planned there: a pack goes on from its checkpoint only as a whole."""
    packs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for rows in batches(source.database, plans_table):
        for row in rows:
            if is_sound(plans_table, row._mapping):
                packs[row.pack].append(_of(plans_table, row._mapping) | {"owner": "", "leased": 0.0})
            else:
                copied.faults.append(f"the plan of run {str(row.key)[:12]} is damaged")
    for pack, plans in packs.items():
        content = source.checkpoint(pack).read()
        if content is not None and not is_checkpoint(content, pack):
            copied.faults.append(f"the checkpoint {pack[:12]} is damaged")
            content = None
        if target.database.waited(partial(_plan, target, pack, plans, content)):
            copied.new["planned runs"] += len(plans)
            copied.new["checkpoints"] += content is not None
        else:
            copied.there["planned runs"] += len(plans)


def _plan(target: Store, pack: str, plans: list[dict[str, Any]], checkpoint: bytes | None) -> bool:
    """Plan a pack, its checkpoint first, unless one of its runs is finished or planned already."""
    keys = [plan["key"] for plan in plans]
    with target.database.writing() as connection:
        for table in (runs_table, plans_table):
            if connection.scalar(select(table.c.key).where(table.c.key.in_(keys)).limit(1)) is not None:
                return False
        if checkpoint is not None:
            target.checkpoint(pack).write(checkpoint)
        target.database.replace(connection, plans_table, plans)
    return True


def _of(table: Table, row: Values) -> dict[str, Any]:
    """The columns of a table in a row."""
    return {name: row[name] for name in table.c.keys()}  # noqa: SIM118 - its columns, by their names
