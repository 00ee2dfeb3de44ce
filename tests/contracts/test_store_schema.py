"""The store: what is opened, what is refused, and how one of an older droplab is brought up to date."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import inspect

from droplab.errors import StoreError
from droplab.study import schema
from droplab.study.store import Store
from store_help import check_whole, raw, save_many

BEFORE = {8: ("DROP TABLE pieces", "DROP TABLE suspects")}
"""What makes a store of a version one of the version before."""


def opening_fails(location: str, match: str) -> None:
    with pytest.raises(StoreError, match=match) as caught:
        Store(location)
    assert "\n" not in str(caught.value)


def contents(location: str) -> dict[str, object]:
    """All tables: their columns, their indexed ones, and their rows."""
    with raw(location) as connection:
        found = inspect(connection)
        return {
            name: (
                sorted((one["name"], repr(one["type"]), one["nullable"]) for one in found.get_columns(name)),
                found.get_pk_constraint(name)["constrained_columns"],
                sorted(tuple(one["column_names"]) for one in found.get_indexes(name)),
                sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {name}"))),
            )
            for name in found.get_table_names()
        }


def make_older(location: str, seeds: range) -> None:
    """A store of the version before, with runs."""
    with Store(location) as store:
        save_many(store, seeds)
    with raw(location) as connection:
        for statement in BEFORE[schema.SCHEMA_VERSION]:
            connection.exec_driver_sql(statement)
        older = schema.SCHEMA_VERSION - 1
        connection.exec_driver_sql(f"UPDATE meta SET value = '{older}' WHERE name = 'schema'")


def test_a_newer_schema_is_refused_untouched(location: str) -> None:
    with Store(location) as store:
        save_many(store, range(1))
    for version in (str(schema.SCHEMA_VERSION + 1), "one"):
        with raw(location) as connection:
            connection.exec_driver_sql(f"UPDATE meta SET value = '{version}'")
        before = contents(location)
        opening_fails(
            location,
            f"schema version {schema.SCHEMA_VERSION} or older; found version {version}. Use the droplab that wrote",
        )
        assert contents(location) == before
    with raw(location) as connection:
        connection.exec_driver_sql("DELETE FROM meta")
    opening_fails(location, "found version None")


def test_a_database_of_another_program_is_refused_untouched(location: str) -> None:
    if "://" not in location:
        with Store(location):  # makes the folder
            pass
        location = location.replace("store.sqlite", "browser.sqlite")
    with raw(location) as connection:
        connection.exec_driver_sql("CREATE TABLE bookmarks (url VARCHAR)")
    before = contents(location)
    opening_fails(location, "must be a store of droplab; found a database with the tables bookmarks")
    assert contents(location) == before
    with raw(location) as connection:
        connection.exec_driver_sql("CREATE TABLE meta (url VARCHAR)")
    opening_fails(location, "cannot be read: .*column")


def test_one_of_the_version_before_is_brought_up_to_date_and_has_its_runs(location: str) -> None:
    with Store(location):
        new = contents(location)
    make_older(location, range(3))
    with Store(location) as store:
        assert [one.key for one in store.summaries()] == [run.key for run in save_many(store, range(3))]
        assert len(check_whole(store)) == 3
    brought = contents(location)
    assert {name: parts[:3] for name, parts in brought.items()} == {name: parts[:3] for name, parts in new.items()}
    assert brought["meta"] == new["meta"]


def test_a_change_that_fails_half_way_leaves_the_store_as_it_was(location: str, monkeypatch) -> None:
    make_older(location, range(2))
    before, last = contents(location), schema.SCHEMA_VERSION - 1
    monkeypatch.setitem(schema._STEPS, last, (*schema._STEPS[last], "INSERT INTO nowhere VALUES (1)"))
    opening_fails(location, "the store cannot be written: .*nowhere")
    assert contents(location) == before


def test_many_may_bring_one_up_to_date_at_once(new_location) -> None:
    locations = [new_location() for _ in range(5)]
    for location in locations:
        make_older(location, range(1))
    together = Barrier(4, timeout=30)

    def open_each(_: int) -> int:
        opened = 0
        for location in locations:
            together.wait()
            with Store(location) as store:
                opened += len(store.summaries())
        return opened

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_each, range(4))) == [len(locations)] * 4
