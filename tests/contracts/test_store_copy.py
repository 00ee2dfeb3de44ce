"""Copies of a store: every row and file as it was, whatever cuts the copy off; what is damaged stays behind."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import delete, select, update

from droplab.errors import ConfigError, StoreError
from droplab.study import rows
from droplab.study.copying import copy_store
from droplab.study.schema import arrays_table, looks_table, plans_table, runs_table, tables
from droplab.study.store import Store
from forked import Worker
from store_help import (
    check_whole,
    keep_checkpoint,
    location_of,
    make_dataset,
    make_run,
    make_trained,
    names_in,
    pack_name,
    plan_pack,
    raw,
    save_many,
)

STUDY = "5" * 64


def copying(say: Callable[[object], None], wait: Callable[[], None], source: str, target: str, files: str) -> None:
    """What a process does that copies, two runs a batch, and says so after each."""
    with mock.patch.object(rows, "_BATCH", 2), Store(source) as old, Store(target, files) as new:
        say("ready")
        wait()
        copy_store(old, new, lambda *_: say("batch"))


@pytest.fixture(params=["folders", "shared folder", "URL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where the copy keeps its files."""
    elsewhere = {"shared folder": str(tmp_path / "shared"), "URL": f"memory://{tmp_path.name}"}
    return elsewhere.get(request.param)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the copy is made: each kind of store is copied into each."""
    return request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"{tmp_path}/other.sqlite"


@pytest.fixture
def full(store: Store) -> Store:
    """A store of six runs, three looks, and a pack that is claimed and has a checkpoint."""
    save_many(store, range(6))
    for seeds in ((0,), (0, 1), (0, 1, 2)):
        store.keep_look(STUDY, seeds)
    plan_pack(store, 1, range(10, 12))
    keep_checkpoint(store, 1)
    return store


def content(store: Store) -> dict[str, object]:
    """All rows, and all files with their bytes; of claims nothing."""
    found: dict[str, object] = {}
    with raw(store) as connection:
        for table in tables.sorted_tables:
            columns = [column for column in table.c if column.name not in ("owner", "leased")]
            if table.name not in ("meta", "pieces", "suspects"):
                found[table.name] = sorted(map(repr, connection.execute(select(*columns))))
    for kind in ("weights", "checkpoints"):
        found[kind] = {name: store.files.read(kind, name) for name in names_in(store, kind)}
    return found


def test_all_rows_and_files_are_copied_bit_for_bit_and_once(full: Store, other: str, place: str | None) -> None:
    with Store(other, place) as target:
        first = copy_store(full, target)
        assert content(target) == content(full)
        assert not first.faults
        with raw(target) as connection:
            assert connection.execute(select(plans_table.c.owner, plans_table.c.leased)).all() == [("", 0.0)] * 2
        second = copy_store(full, target)
        assert (second.new.total(), second.there) == (0, first.new - Counter(checkpoints=1))
        assert content(target) == content(full)


def test_a_copy_that_is_killed_goes_on_to_the_same_end(full: Store, other: str, tmp_path: Path) -> None:
    for batches, delay in ((0, 0.0), (0, 0.01), (1, 0.0), (1, 0.02), (2, 0.01)):
        worker = Worker(copying, location_of(full), other, str(tmp_path / "shared"))
        worker.begin()
        worker.hear(batches)
        time.sleep(delay)
        worker.kill()
        worker.end()
        with Store(other) as target:
            check_whole(target)
    with Store(other) as target:
        copy_store(full, target)
        assert content(target) == content(full)


def test_two_copies_at_once_do_no_harm(full: Store, other: str, tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    Store(other, shared).close()
    workers = [Worker(copying, location_of(full), other, shared) for _ in range(2)]
    for worker in workers:
        worker.begin()
    assert [worker.end() for worker in workers] == [(0, ["batch"] * 3)] * 2
    with Store(other) as target:
        assert content(target) == content(full)


def test_what_is_damaged_is_left_out_and_told(full: Store, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_BATCH", 2)
    keys = sorted(make_run(seed).key for seed in range(6))
    lost = full.load(keys)[keys[2]].weights_hash
    full.files.write("weights", [(lost, b"x")])
    full.checkpoint(pack_name(1)).write(b"x")
    with raw(full) as connection:
        connection.execute(update(runs_table).where(runs_table.c.key == keys[0]).values(seed=99))
        connection.execute(delete(arrays_table).where(arrays_table.c.key == keys[1]))
        connection.execute(update(looks_table).where(looks_table.c.number == 2).values(number=7))
    with Store(other) as target:
        faults = copy_store(full, target).faults
        assert check_whole(target) == set(keys[3:])
        assert len(target.looks(STUDY)) == 3, "a damaged look counts"
        assert len(target.planned([make_run(seed).key for seed in (10, 11)])) == 2
        assert not names_in(target, "checkpoints")
    for said in (*(key[:12] for key in keys[:3]), f"checkpoint {pack_name(1)[:12]}", "look"):
        assert sum(said in fault for fault in faults) == 1, said
    assert len(faults) == 5


def test_what_is_there_stays_if_it_is_sound(full: Store, other: str) -> None:
    keys = [make_run(seed).key for seed in range(3)]
    with Store(other) as target:
        for seed in range(3):
            target.save(make_run(seed), make_dataset(), make_trained(make_run(seed), marked=1.0))
        own = target.load(keys)
        target.files.write("weights", [(own[keys[1]].weights_hash, b"x")])
        with raw(target) as connection:
            connection.execute(update(runs_table).where(runs_table.c.key == keys[2]).values(seed=99))
        target.keep_look(STUDY, (7,))
        copy_store(full, target)
        there, theirs = target.load(keys), full.load(keys)
        check_whole(target)
        assert there[keys[0]].weights_hash == own[keys[0]].weights_hash
        assert [there[key].weights_hash for key in keys[1:]] == [theirs[key].weights_hash for key in keys[1:]]
        assert target.looks(STUDY) == [(7,), (0,), (0, 1), (0, 1, 2)]


def test_a_store_is_not_copied_into_itself_nor_into_one_that_keeps_its_files_elsewhere(
    full: Store, new_location: Callable[[], str], tmp_path: Path
) -> None:
    with Store(location_of(full)) as same, pytest.raises(ConfigError, match="into another"):
        copy_store(full, same)
    other = new_location()
    with Store(other) as target:
        copy_store(full, target)
    with pytest.raises(StoreError, match="must stay"):
        Store(other, str(tmp_path / "elsewhere"))
