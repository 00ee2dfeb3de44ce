"""What the store keeps is not believed because it can be read: a changed bit is found, and costs a training at most."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplab.errors import StoreError
from droplab.study.schema import tables
from droplab.study.store import Store
from store_help import check_whole, make_dataset, make_run, make_trained, plan_pack, save_many

KEYS = [make_run(seed).key for seed in range(6)]
OPEN_TO_CHANGE = {("plans", "owner"), ("plans", "leased")}  # a claim is not part of what is planned
CELLS = [
    (table.name, column.name)
    for table in tables.sorted_tables
    for column in table.c
    if table.name not in ("meta", "looks", "pieces", "suspects") and (table.name, column.name) not in OPEN_TO_CHANGE
]


def said(store: Store) -> dict[str, object]:
    """All that a store says, but for what it says is damaged."""
    records = store.load(KEYS, lambda _: None)
    told: dict[str, object] = {
        key: repr((one.settings, one.way, one.outcome.metrics, one.finished, one.dataset, one.weights_hash))
        + repr([array.tolist() for array in (*one.outcome.ledger.values(), *vars(one.outcome.curves).values())])
        + repr((one.outcome.environment, one.outcome.train_seconds))
        for key, one in records.items()
    }
    told |= {f"labels {one.fingerprint}": repr(one.test_labels) for one in records.values() if one.right is not None}
    told |= {f"line {one.key}": repr(one) for one in store.summaries(lambda _: None)}
    told |= {f"card {card.fingerprint}": repr(card) for card in store.datasets("toy")}
    return told | {f"plan {key}": plan for key, plan in store.planned(KEYS).items()}


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_a_changed_cell_is_found_whichever_it_is(store: Store, table: str, column: str) -> None:
    save_many(store, range(2))
    plan_pack(store, 1, range(2, 4))
    before = said(store)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("PRAGMA foreign_keys=OFF")
        (old,) = database.execute(f"SELECT {column} FROM {table} ORDER BY rowid LIMIT 1").fetchone()
        new = (
            old + 1
            if isinstance(old, int | float)
            else bytes([old[0] ^ 1]) + old[1:]
            if isinstance(old, bytes)
            else None
        )
        new = new if new is not None else f"{old or ''}0"
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", (new,))
    if table == "labels" and column != "fingerprint":
        with pytest.raises(StoreError, match="must be as they were saved"):
            said(store)
        return
    after = said(store)
    assert after.items() <= before.items(), "what is said is what was saved"
    assert after != before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_of_the_database_change_no_figure(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "store.sqlite"
    if not path.exists():
        with Store(path) as store:
            save_many(store, range(3))
            plan_pack(store, 1, range(3, 6))
        (tmp_path / "whole").write_bytes(path.read_bytes())
    whole = (tmp_path / "whole").read_bytes()
    path.write_bytes(whole)
    with Store(path) as store:
        before = said(store)
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4)):
        damaged[place // 8] ^= 1 << place % 8
    path.write_bytes(damaged)
    try:
        with Store(path) as store:
            assert said(store).items() <= before.items()
    except StoreError:
        pass


def test_an_accuracy_that_is_not_its_predictions_is_damage(store: Store) -> None:
    trained = make_trained(make_run())
    trained.outcome.ledger["test"] = np.array([0, 1, 2], np.uint8)  # all right, and not a third
    store.save(make_run(), make_dataset(), trained)
    with pytest.raises(StoreError, match="its accuracy is not that of its predictions"):
        store.load([make_run().key])
    assert store.damaged([make_run().key]).keys() == {make_run().key}
    save_many(store, range(1))
    assert check_whole(store) == {make_run().key}


def test_damaged_labels_are_saved_anew_by_the_next_study(store: Store) -> None:
    save_many(store, range(1))
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE labels SET npz = x'00'")
        database.execute("UPDATE datasets SET name = 'changed'")
    with pytest.raises(StoreError, match="the test labels of data"):
        store.load(KEYS)
    store.keep_data(make_dataset())
    assert check_whole(store) == {make_run().key}
    assert store.datasets("toy") == [make_dataset().card]


def test_one_bad_row_takes_no_listing_down(store: Store) -> None:
    runs = save_many(store, range(3))
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE runs SET settings = ? WHERE key = ?", (b"\xff\xfe", runs[1].key))
        database.execute("UPDATE runs SET dataset = CAST(x'fffe' AS TEXT) WHERE key = ?", (runs[2].key,))
    told: list[str] = []
    assert [one.key for one in store.summaries(told.append)] == [runs[0].key]
    assert [run.key[:12] in line for run, line in zip(runs[1:], told, strict=True)] == [True, True]


@pytest.mark.parametrize("column", ["study", "seeds", "number", "digest"])
def test_a_damaged_look_counts_as_one_all_the_same(store: Store, column: str) -> None:
    store.keep_look("a", (0, 1, 2))
    store.keep_look("a", (0, 1, 2, 3, 4))
    store.keep_look("a", (0, 1, 2))  # known
    assert store.looks("a") == [(0, 1, 2), (0, 1, 2, 3, 4)]
    assert store.looks("b") == []
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute(f"UPDATE looks SET {column} = {column} || '7' WHERE number = 1")
    assert len(store.looks("a")) == 2
    assert (0, 1, 2) not in store.looks("a")


def test_damage_is_looked_into_once_it_was_read_and_nothing_else_is_read_by_planning(store: Store) -> None:
    first, second, third = save_many(store, range(3))
    paths = [store.files.path("weights", store.load([run.key])[run.key].weights_hash) for run in (first, second)]
    model = paths[0].read_bytes()
    paths[0].write_bytes(model[:-1] + bytes([model[-1] ^ 1]))  # of its size, and not yet read
    paths[1].write_bytes(model[:-1])
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE runs SET metrics = '[]' WHERE key = ?", (third.key,))
    with pytest.MonkeyPatch.context() as patch:
        asked: list[set[str]] = []
        patch.setattr(Store, "check", lambda _, keys: asked.append(set(keys)) or {})
        store.damaged(KEYS)
    assert asked == [{second.key}]
    with pytest.raises(StoreError, match="its bytes have changed"):
        store.read_model(store.load([first.key])[first.key])
    assert store.load(KEYS, lambda _: None).keys() == {first.key, second.key}
    assert store.damaged(KEYS).keys() == {first.key, second.key, third.key}
    paths[0].write_bytes(model)  # put back from a copy
    assert store.damaged(KEYS).keys() == {second.key, third.key}
    save_many(store, range(3))
    assert store.damaged(KEYS) == {}
