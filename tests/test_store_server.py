"""The store on PostgreSQL: servers that crash, networks that break, what cannot be reached, and poolers in between."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from droplab.errors import StoreAwayError, StoreBusyError, StoreError
from droplab.study import filing
from droplab.study.backends import Here, InProcess
from droplab.study.runner import run_all
from droplab.study.store import Store
from postgres import GUARDED, Postgres, database_of
from store_help import (
    check_whole,
    failing,
    keys_of,
    make_dataset,
    make_run,
    make_trained,
    plan_pack,
    save_many,
    wait_for,
)
from study_help import Watcher, toy_plan
from toy import toy_dataset

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()"


@pytest.fixture
def told() -> list[str]:
    """What a user is told while the store waits."""
    return []


@pytest.fixture
def store(postgres_url: str, told: list[str]) -> Iterator[Store]:
    with Store(postgres_url, notice=told.append) as opened:
        yield opened


def once_after(store: Store, statement: str, act: Callable[[], object]) -> None:
    """Have something happen in the middle of a transaction, once."""
    engine = store._database.engine

    def listen(_: object, __: object, said: str, *___: object) -> None:
        if said.startswith(statement):
            event.remove(engine, "after_cursor_execute", listen)
            act()

    event.listen(engine, "after_cursor_execute", listen)


def away_until(postgres: Postgres, missed: Callable[[], bool]) -> threading.Thread:
    """Stop the server, and have it back once it is missed."""

    def come_back() -> None:
        wait_for(missed)
        postgres.start()

    postgres.stop()
    thread = threading.Thread(target=come_back)
    thread.start()
    return thread


@pytest.mark.parametrize("statement", ["INSERT INTO pieces", "INSERT INTO runs", "DELETE FROM plans"])
@pytest.mark.parametrize("how", ["immediate", "fast", "cut"])
def test_a_pack_is_filed_whole_or_not_at_all_by_a_server_that_goes_away(
    postgres: Postgres, postgres_url: str, store: Store, statement: str, how: str
) -> None:
    pack = plan_pack(store, 1, range(5))
    cut = CUT.format(database_of(postgres_url))
    once_after(store, statement, lambda: postgres.psql(cut) if how == "cut" else postgres.restart(how))
    with pytest.raises(StoreAwayError, match="the store cannot be written") as caught:
        store.save_pack(pack, make_dataset())
    assert "\n" not in str(caught.value)
    assert check_whole(store) == set()
    assert store.planned(keys_of(pack)).keys() == keys_of(pack)
    store.save_pack(pack, make_dataset())
    assert check_whole(store) == keys_of(pack)


def test_a_question_waits_for_the_server_and_says_so_once(postgres: Postgres, store: Store, told: list[str]) -> None:
    (run,) = save_many(store, range(1))
    record = store.load([run.key])[run.key]
    for ask in (lambda: store.finished([run.key]), lambda: store.read_weights(record)):
        thread = away_until(postgres, lambda: bool(told))
        assert ask()
        thread.join()
        assert len(told) == 1
        assert told.pop().endswith("It is waited for.")


def test_waiting_ends_when_it_shall(postgres: Postgres, store: Store) -> None:
    over = threading.Event()
    thread = away_until(postgres, over.is_set)
    with store.waiting_until(lambda: True), pytest.raises(StoreAwayError):
        store.summaries()
    over.set()
    thread.join()
    assert store.summaries() == []


def test_a_connection_that_was_cut_while_idle_is_made_anew(postgres: Postgres, postgres_url: str, store: Store) -> None:
    save_many(store, range(1))
    postgres.psql(CUT.format(database_of(postgres_url)))
    save_many(store, range(1, 2))
    assert len(check_whole(store)) == 2


def test_a_study_goes_on_while_the_server_is_away_and_files_all(
    postgres: Postgres, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    monkeypatch.setattr(filing, "BETWEEN", 0.1)
    plan, watcher, threads = toy_plan(epochs=2), Watcher(), []

    def go_away(*_: object) -> None:
        if not threads:
            threads.append(away_until(postgres, lambda: bool(watcher.notices)))

    watcher.at_progress = go_away
    summary = run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
    threads[0].join()
    assert (summary.trained, len(check_whole(store))) == (10, 10)
    assert store.claimed(run.key for run in plan.runs) == {}
    assert any("waits to be filed" in text or "waited for" in text for text in watcher.notices)


def test_a_full_disk_of_the_server_is_no_end(store: Store) -> None:
    for statement in ("BEFORE INSERT ON pieces", "BEFORE INSERT ON runs"):
        with failing(store, statement, state="53100"), pytest.raises(StoreBusyError, match="Make room on the server"):
            save_many(store, range(1))
    assert check_whole(store) == set()


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgresql+psycopg://me:secret@/db?host=/nowhere", "No such file or directory"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/db", "refused"),
        ("{folder}/nobody-made-it", 'database "nobody-made-it" does not exist'),
        ("{stranger}/postgres", 'role "stranger" does not exist'),
        ("{guarded}/postgres", "password authentication failed"),
        ("postgresql://me:secret@host", "must name a database"),
        ("postgresql://me:secret@host:port/db", "cannot be read"),
        ("postgresql://me:half@secret@host/db", "written as %40"),
        ("postgresql:///db?host=/nowhere&user=me&password=secret&sslpassword=secret", "No such file or directory"),
    ],
)
def test_what_cannot_be_reached_is_said_at_once_in_a_line_without_the_password(
    postgres: Postgres, url: str, match: str
) -> None:
    users = {"{folder}": "droplab:secret", "{stranger}": "stranger:secret", "{guarded}": f"{GUARDED}:secret"}
    kind, _, name = url.partition("/")
    if kind in users:
        url = postgres.url(name, users[kind])
    postgres.psql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'right'")
    try:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=match) as caught:
            Store(url)
        assert time.monotonic() - begun < 20
    finally:
        postgres.psql(f"DROP ROLE {GUARDED}")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_one_who_may_only_read_looks_into_it(postgres: Postgres, postgres_url: str, store: Store) -> None:
    runs = save_many(store, range(2))
    for statement in ("CREATE ROLE reader LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"):
        postgres.psql(statement, postgres_url)
    with Store(postgres.url(database_of(postgres_url), "reader")) as looked:
        assert [one.key for one in looked.summaries()] == [run.key for run in runs]
        assert looked.damaged(run.key for run in runs) == {}
        assert looked.disk_use().runs == 2
        looked.keep_data(make_dataset())  # it is there
        for change in (lambda: looked.delete([runs[0].key]), lambda: save_many(looked, range(3)), looked.forget):
            with pytest.raises(StoreError, match="must be writable for this; found it"):
                change()
    for statement in ("DROP OWNED BY reader", "DROP ROLE reader"):
        postgres.psql(statement, postgres_url)
    assert len(check_whole(store)) == 2


def test_nothing_outlives_a_transaction_so_that_a_pooler_may_be_in_between(store: Store) -> None:
    for _ in range(8):
        save_many(store, range(1))
        store.renew()
        store.summaries()
    with store._database.engine.begin() as connection:
        for left in ("pg_prepared_statements", "pg_locks WHERE locktype = 'advisory'"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {left}").scalar() == 0
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "off"


def test_limits_that_a_server_sets_are_not_those_of_a_store(postgres: Postgres, postgres_url: str) -> None:
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
        postgres.psql(f"ALTER DATABASE {database_of(postgres_url)} SET {limit} = '200ms'")
    with Store(postgres_url) as store, Store(postgres_url) as other:
        with ThreadPoolExecutor(1) as beside:
            with other._database.writing(), store._database.reading():
                ours = beside.submit(plan_pack, store, 1, range(1))  # waits to write
                time.sleep(0.5)
            assert ours.result()
        assert other.planned(keys_of(ours.result()))


def test_text_is_the_same_in_a_database_without_an_encoding(postgres: Postgres) -> None:
    how = "LOCALE_PROVIDER libc ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.psql(f"CREATE DATABASE bytes TEMPLATE template0 {how}")
    with Store(postgres.url("bytes")) as store:
        run = make_run()
        store.save(run, make_dataset("Ziffern größer"), make_trained(run))
        assert [one.dataset for one in store.summaries()] == ["Ziffern größer"]
    postgres.psql("DROP DATABASE bytes")


def test_what_postgresql_does_not_take_is_refused_in_a_line(store: Store) -> None:
    with pytest.raises(StoreError, match="NUL") as caught:
        store.save(make_run(), make_dataset("a\0b"), make_trained(make_run()))
    assert "\n" not in str(caught.value)
    assert check_whole(store) == set()
