"""What the store keeps is not believed because it can be read: a change is found, and costs a training at most."""

import numpy as np
import pytest
from sqlalchemy import select, update

from droplab.errors import StoreError
from droplab.study.schema import datasets_table, labels_table, looks_table, runs_table, tables
from droplab.study.store import Store
from store_help import check_whole, make_dataset, make_run, make_trained, plan_pack, raw, said, save_many

OPEN_TO_CHANGE = {("plans", "owner"), ("plans", "leased")}  # a claim is not part of what is planned


def changed(old: object) -> object:
    if isinstance(old, int | float):
        return old + 1
    return bytes([old[0] ^ 1]) + old[1:] if isinstance(old, bytes) else f"{old or ''}0"


@pytest.mark.parametrize("name", ["arrays", "datasets", "labels", "plans", "runs"])
def test_a_changed_cell_is_found_whichever_it_is(store: Store, name: str) -> None:
    save_many(store, range(2))
    plan_pack(store, 1, range(2, 4))
    before, table = said(store), tables.tables[name]
    for column in table.c:
        if (name, column.name) in OPEN_TO_CHANGE:
            continue
        with raw(store) as connection:
            row = connection.execute(select(table).order_by(*table.primary_key).limit(1)).mappings().one()
            (key,) = table.primary_key
            new = {column: changed(row[column])}
            assert connection.execute(update(table).where(key == row[key]).values(new)).rowcount == 1
        if name == "labels" and column is not key:
            with pytest.raises(StoreError, match="must be as they were saved"):
                said(store)
        else:
            after = said(store)
            assert after.items() <= before.items(), f"what is said is what was saved, whatever is in {column}"
            assert after != before, f"nothing is noticed of {column}"
        with raw(store) as connection:
            connection.execute(update(table).where(key == new.get(key, row[key])).values(dict(row)))
    assert said(store) == before


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
    with raw(store) as connection:
        connection.execute(update(labels_table).values(npz=b"0"))
        connection.execute(update(datasets_table).values(name="changed"))
    with pytest.raises(StoreError, match="the test labels of data"):
        store.load([make_run().key])
    store.keep_data(make_dataset())
    assert check_whole(store) == {make_run().key}
    assert store.datasets("toy") == [make_dataset().card]


def test_one_bad_row_takes_no_listing_down(store: Store) -> None:
    runs = save_many(store, range(3))
    with raw(store) as connection:
        for run, damage in zip(runs[1:], ({"settings": "{"}, {"dataset": ""}), strict=True):
            connection.execute(update(runs_table).where(runs_table.c.key == run.key).values(damage))
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
    with raw(store) as connection:
        first = looks_table.c.number == 1
        old = connection.scalar(select(looks_table.c[column]).where(first))
        connection.execute(update(looks_table).where(first).values({column: changed(old)}))
    assert len(store.looks("a")) == 2
    assert (0, 1, 2) not in store.looks("a")


def test_damage_is_looked_into_once_it_was_read_and_nothing_else_is_read_by_planning(store: Store, monkeypatch) -> None:
    first, second, third = save_many(store, range(3))
    whole, lost, _ = (record.weights_hash for record in store.load([first.key, second.key, third.key]).values())
    model = store.files.read("weights", whole)
    store.files.write("weights", [(whole, model[:-1] + bytes([model[-1] ^ 1])), (lost, model[:-1])])
    with raw(store) as connection:
        connection.execute(update(runs_table).where(runs_table.c.key == third.key).values(metrics="[]"))
    keys = [first.key, second.key, third.key]
    with monkeypatch.context() as patch:
        asked: list[set[str]] = []
        patch.setattr(Store, "check", lambda _, some: asked.append(set(some)) or {})
        store.damaged(keys)
    assert asked == [{second.key}], "whose weights have another size"
    with pytest.raises(StoreError, match="its bytes have changed"):
        store.read_model(store.load([first.key])[first.key])
    assert store.load(keys, lambda _: None).keys() == {first.key, second.key}
    assert store.damaged(keys).keys() == set(keys)
    store.files.write("weights", [(whole, model)])  # from a copy
    assert store.damaged(keys).keys() == {second.key, third.key}
    save_many(store, range(3))
    assert store.damaged(keys) == {}
    assert check_whole(store) == set(keys)
