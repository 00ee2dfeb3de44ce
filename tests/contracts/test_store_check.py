"""What is wrong with a store is found and mended, and nothing else is touched."""

import pytest
from sqlalchemy import delete, insert, select, update

from droplab.study import checking
from droplab.study.checking import check_store
from droplab.study.records import Planned
from droplab.study.schema import (
    arrays_table,
    datasets_table,
    labels_table,
    looks_table,
    plans_table,
    runs_table,
)
from droplab.study.store import Store
from store_help import (
    FP32,
    check_whole,
    keep_checkpoint,
    let_age,
    make_run,
    names_in,
    pack_name,
    plan_pack,
    raw,
    save_many,
)

KEYS = [make_run(seed).key for seed in range(6)]


@pytest.fixture
def full(store: Store) -> Store:
    save_many(store, range(6))
    store.keep_look("5" * 64, (0, 1))
    for pack in (1, 2):
        plan_pack(store, pack, range(10 * pack, 10 * pack + 2))
        keep_checkpoint(store, pack)
    store.release()
    return store


def found(store: Store, mend: bool = False) -> dict[str, int]:
    return {one.what: one.times for one in check_store(store, mend)}


def test_nothing_is_found_in_a_sound_store(full: Store) -> None:
    assert not found(full)


def test_runs_that_are_damaged_go_and_others_stay(full: Store) -> None:
    records = full.load(KEYS)
    full.files.write("weights", [(records[KEYS[0]].weights_hash, b"x")])
    full.files.remove("weights", [records[KEYS[1]].weights_hash])
    with raw(full) as connection:
        connection.execute(update(runs_table).where(runs_table.c.key == KEYS[2]).values(seed=99))
        connection.execute(update(arrays_table).where(arrays_table.c.key == KEYS[3]).values(npz=b"x"))
        connection.execute(delete(arrays_table).where(arrays_table.c.key == KEYS[4]))
    wrong = {"damaged runs": 3, "runs without their weights": 2}
    assert found(full) == wrong
    assert found(full) == wrong, "looking changes nothing"
    assert found(full, mend=True) == wrong
    assert not found(full)
    assert check_whole(full) == {KEYS[5]}
    assert names_in(full, "weights") == {records[KEYS[5]].weights_hash}


def test_plans_and_checkpoints_that_are_damaged_go_and_others_stay(full: Store) -> None:
    full.checkpoint(pack_name(1)).write(b"x")
    key = make_run(20).key
    with raw(full) as connection:
        connection.execute(update(plans_table).where(plans_table.c.key == key).values(way="x"))
        plan = connection.execute(select(plans_table).where(plans_table.c.key == make_run(21).key)).one()._mapping
        connection.execute(insert(plans_table), [dict(plan) | {"key": KEYS[0]}])
    full.files.write("checkpoints", [(pack_name(9), b"x")])
    let_age(full)
    wrong = {
        "damaged plans": 2,  # a plan that is copied to another key is not as it was saved
        "damaged checkpoints": 1,
        "files that nothing needs": 1,
    }
    assert found(full, mend=True) == wrong
    assert not found(full)
    assert names_in(full, "checkpoints") == {pack_name(2)}
    assert check_whole(full) == set(KEYS)


def test_the_plan_of_a_finished_run_goes_once_nobody_has_a_claim(full: Store) -> None:
    full.claim([{KEYS[0]: Planned(FP32, pack_name(3))}], again=KEYS[:1])
    assert not found(full)
    full.release()
    assert found(full, mend=True) == {"plans of finished runs": 1}
    assert not full.planned(KEYS)
    assert check_whole(full) == set(KEYS)


def test_what_a_study_has_claimed_or_saved_meanwhile_is_left(full: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_pack(full, 1, range(10, 12))
    full.checkpoint(pack_name(1)).write(b"x")
    assert not found(full, mend=True)
    assert pack_name(1) in names_in(full, "checkpoints")

    with raw(full) as connection:
        connection.execute(update(runs_table).where(runs_table.c.key == KEYS[0]).values(seed=99))
    mend = checking._mend

    def late(store: Store, what: checking._Found) -> None:
        save_many(full, range(1))
        mend(store, what)

    monkeypatch.setattr(checking, "_mend", late)
    assert found(full, mend=True) == {"damaged runs": 1}
    assert check_whole(full) == set(KEYS)


def test_damaged_data_sets_and_looks_are_told_and_kept(full: Store) -> None:
    with raw(full) as connection:
        connection.execute(update(datasets_table).values(source="x"))
        connection.execute(delete(labels_table))
        connection.execute(update(looks_table).values(number=9))
    wrong = {"damaged data sets": 1, "data sets or labels that runs lack": 1, "damaged looks": 1}
    assert found(full, mend=True) == wrong
    assert found(full) == wrong
    assert len(full.looks("5" * 64)) == 1
