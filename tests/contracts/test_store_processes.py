"""The store: whole runs only, whatever is killed and whoever else writes."""

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import event

from droplab.data import disk
from droplab.study.records import Planned
from droplab.study.store import Store
from forked import Worker
from store_help import (
    FP32,
    check_whole,
    let_age,
    make_dataset,
    make_run,
    make_trained,
    names_in,
    pack_name,
    plan_pack,
    raw,
)

PACK = 5


def write_runs(
    say: Callable[[str], None], begin: Callable[[], None], location: str, seeds: range, marked: float
) -> None:
    with Store(location) as store:
        say("ready")
        begin()
        for run in map(make_run, seeds):
            store.save(run, make_dataset(), make_trained(run, marked=marked))
            say(run.key)


def write_packs(
    say: Callable[[object], None], begin: Callable[[], None], location: str, packs: int, step: str = ""
) -> None:
    """Plan packs, and file one after the other, or die at a step of it."""
    store = Store(location)
    planned = [plan_pack(store, number, range(number * PACK, (number + 1) * PACK)) for number in range(packs)]
    say("ready")
    begin()
    die_at(step, store)
    for number, pack in enumerate(planned):
        store.save_pack(pack, make_dataset())
        (die if step == "committed" else say)(number)


def open_each(say: Callable[[str], None], begin: Callable[[], None], locations: list[str]) -> None:
    say("ready")
    begin()
    start = time.monotonic()
    for number, location in enumerate(locations):
        time.sleep(max(0, start + 0.05 * number - time.monotonic()))
        Store(location).close()


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


STEPS = {
    "weights half-written": "INSERT INTO pieces",
    "weights written": "SELECT pg_advisory_xact_lock",
    "half the rows written": "INSERT INTO runs",
    "all written but not committed": "DELETE FROM plans",
    "about to commit": "DELETE FROM plans",
    "committed": "",
}
"""Of filing a pack, and the statement that ends each; weights in folders have none."""


def die_at(step: str, store: Store) -> None:
    engine = store._database.engine

    def listen(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(STEPS[step]):
            event.listen(engine, "commit", die) if step == "about to commit" else die()

    if store.path and step == "weights half-written":
        disk.os.fsync = die
    elif store.path and step == "weights written":
        disk._sync_folder = die
    elif STEPS.get(step):
        event.listen(engine, "after_cursor_execute", listen)


def wait_until_gone(location: str) -> None:
    """Wait until a server has noticed that a process was killed, and has ended what it had begun."""
    with raw(location) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while connection.dialect.name == "postgresql" and connection.exec_driver_sql(others).scalar():
            time.sleep(0.01)
            connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")


def test_killed_at_any_moment_a_store_holds_whole_runs_only(location: str) -> None:
    random = np.random.default_rng(0)
    promised: set[str] = set()
    for attempt in range(6):
        # Every other writer begins with runs that are there, so that some die writing a file again.
        writer = Worker(write_runs, location, range(first := attempt % 2 * attempt * 1000, first + 1000), 0.0)
        writer.begin()
        writer.hear(int(random.integers(0, 20)))
        time.sleep(random.uniform(0, 0.02))
        writer.kill()
        code, said = writer.end()
        assert code == -signal.SIGKILL
        promised |= set(said)
        wait_until_gone(location)
        with Store(location) as store:
            assert promised <= check_whole(store), "a run that was reported as saved is lost"
    assert promised
    with Store(location) as store:
        store.delete([])
        let_age(store)
        store.delete([])
        assert names_in(store, "weights") == {one.weights_hash for one in store.load(check_whole(store)).values()}


def whole_packs(location: str, packs: int) -> set[int]:
    """Which packs are there; each is, without a plan, or is not and has all its plans."""
    there = set()
    wait_until_gone(location)
    with Store(location) as store:
        finished = check_whole(store)
        for number in range(packs):
            keys = {make_run(seed).key for seed in range(number * PACK, (number + 1) * PACK)}
            if keys & finished:
                there.add(number)
                assert keys <= finished, "a pack is there in part"
                assert store.planned(keys) == {}
            else:
                assert store.planned(keys) == dict.fromkeys(keys, Planned(FP32, pack_name(number)))
    return there


def test_killed_at_any_moment_a_store_holds_whole_packs_or_their_plans(new_location: Callable[[], str]) -> None:
    random = np.random.default_rng(0)
    in_the_middle = 0
    for _ in range(4):
        location = new_location()
        writer = Worker(write_packs, location, 30)
        writer.begin()
        writer.hear(int(random.integers(0, 20)))
        time.sleep(random.uniform(0, 0.02))
        writer.kill()
        code, promised = writer.end()
        assert code in (-signal.SIGKILL, 0)
        there = whole_packs(location, 30)
        assert set(promised) <= there, "a pack that was reported as saved is lost"
        in_the_middle += 0 < len(there) < 30
    assert in_the_middle, "no writer was killed in its work"


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_a_pack_is_there_without_plans_or_its_plans_are(location: str, step: str) -> None:
    writer = Worker(write_packs, location, 2, step)
    writer.begin()
    assert writer.end() == (-signal.SIGKILL, [])
    assert whole_packs(location, 2) == ({0} if step == "committed" else set())
    with Store(location) as store:
        for number in range(2):
            pack = [(run, make_trained(run)) for run in map(make_run, range(number * PACK, (number + 1) * PACK))]
            store.save_pack(pack, make_dataset())
        assert len(check_whole(store)) == 2 * PACK
    assert whole_packs(location, 2) == {0, 1}


def test_two_processes_may_make_and_fill_one_store(location: str) -> None:
    """Both save the runs 10 … 19, with other weights; whichever comes first wins, whole."""
    writers = [
        Worker(write_runs, location, seeds, marked) for seeds, marked in ((range(20), 1.0), (range(10, 30), 2.0))
    ]
    for writer in writers:
        writer.begin()
    assert [writer.end()[0] for writer in writers] == [0, 0]
    with Store(location) as store:
        keys = check_whole(store)
        assert keys == {make_run(seed).key for seed in range(30)}
        for record in store.load(keys).values():
            bias = store.read_weights(record)[0]["layers.0.bias"][0]
            assert record.outcome.metrics[0].value == 0.1 + 0.2 + bias, "weights of one process, metrics of the other"
        assert len(names_in(store, "weights")) == 30, "the losers' weights are gone"


def test_many_processes_may_make_one_store_at_once(new_location: Callable[[], str]) -> None:
    """Each of several stores is opened by 4 processes at the same moment."""
    locations = [new_location() for _ in range(15)]
    openers = [Worker(open_each, locations) for _ in range(4)]
    for opener in openers:
        opener.begin()
    assert [opener.end() for opener in openers] == [(0, [])] * 4
    for location in locations:
        with raw(location) as database:
            assert database.exec_driver_sql("SELECT count(*) FROM meta").scalar() == 3
            if "://" not in location:
                assert database.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
