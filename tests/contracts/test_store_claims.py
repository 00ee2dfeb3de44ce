"""The store: of two that want to train the same, one does, until it is done, gone, or silent for too long."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import update

from droplab.study.claims import LEASE_SECONDS
from droplab.study.records import Planned
from droplab.study.schema import plans_table
from droplab.study.store import Store
from forked import Worker
from store_help import FP32, location_of, make_run, pack_name, raw

PACK = {make_run(seed).key: Planned(FP32, pack_name(1)) for seed in range(3)}
OTHER = {make_run(seed).key: Planned(FP32, pack_name(2)) for seed in range(2, 5)}


@pytest.fixture
def stores(location: str) -> Iterator[tuple[Store, Store]]:
    with Store(location) as one, Store(location) as two:
        yield one, two


def claim_there(say: Callable[[object], None], begin: Callable[[], None], location: str) -> None:
    say("ready")
    begin()
    say(Store(location).claim([PACK]))


def let_pass(store: Store, seconds: float) -> None:
    """As if all leases had been given so long ago, by the clock of the database."""
    with raw(store) as connection:
        connection.execute(update(plans_table).values(leased=plans_table.c.leased - seconds))


def test_of_two_claims_the_first_holds_until_it_is_released(stores) -> None:
    one, two = stores
    assert one.claim([PACK]) == [True]
    assert two.claim([PACK, OTHER]) == [False, False], "one run of the other pack is claimed, too"
    assert two.claimed([*PACK, *OTHER]) == dict.fromkeys(PACK, one.owner)
    assert one.claimed(PACK) == {}
    assert one.claim([PACK]) == [True], "one's own claim is no hindrance"
    one.release()
    assert two.claim([PACK]) == [True]
    assert one.claim([PACK]) == [False]


def test_a_lease_ends_unless_it_is_renewed(stores) -> None:
    one, two = stores
    one.claim([PACK])
    let_pass(one, LEASE_SECONDS - 2)
    assert two.claim([PACK]) == [False]
    one.renew()
    let_pass(one, LEASE_SECONDS - 2)
    assert two.claim([PACK]) == [False]
    let_pass(one, 2)
    assert two.claim([PACK]) == [True]
    assert one.claim([PACK]) == [False]


def test_the_claim_of_a_dead_process_is_void_at_once(stores) -> None:
    one, two = stores
    other = Worker(claim_there, location_of(one))
    other.begin()
    assert other.end() == (0, [[True]])
    assert two.claim([PACK]) == [True]


def test_of_many_that_claim_at_once_each_pack_has_one(location: str) -> None:
    packs = [{f"{number:064x}": Planned(FP32, pack_name(number))} for number in range(40)]
    together = Barrier(4, timeout=30)

    def claim(_: int) -> set[str]:
        with Store(location) as store:
            together.wait()
            return {name for pack in packs if store.claim([pack]) == [True] for name in pack}

    with ThreadPoolExecutor(4) as pool:
        mine = list(pool.map(claim, range(4)))
    assert sum(map(len, mine)) == len(set().union(*mine)) == len(packs)


@pytest.mark.postgres
def test_a_lease_is_timed_by_the_server_whatever_the_clocks_of_the_machines(postgres_url: str, monkeypatch) -> None:
    now = time.time
    with Store(postgres_url) as one, Store(postgres_url) as two:
        for mine, others in ((-1e6, 0), (0, 1e6)):
            monkeypatch.setattr(time, "time", lambda: now() + mine)  # noqa: B023
            assert one.claim([PACK]) == [True]
            monkeypatch.setattr(time, "time", lambda: now() + others)  # noqa: B023
            assert two.claim([PACK]) == [False]
