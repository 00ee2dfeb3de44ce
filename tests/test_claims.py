"""Claims: of two that want to train the same, one does, until it is done, gone, or silent for too long."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from droplab.study import claims, runner
from droplab.study.backends import Here, InProcess
from droplab.study.claims import Owner
from droplab.study.records import Planned
from droplab.study.runner import run_all
from droplab.study.store import Store
from store_help import FP32, make_run, pack_name
from study_help import Watcher, toy_plan
from toy import toy_dataset

PACK = {make_run(seed).key: Planned(FP32, pack_name(1)) for seed in range(3)}
OTHER = {make_run(seed).key: Planned(FP32, pack_name(2)) for seed in range(2, 5)}


@pytest.fixture
def stores(tmp_path: Path):
    with Store(tmp_path / "store.sqlite") as one, Store(tmp_path / "store.sqlite") as two:
        yield one, two


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


def test_a_lease_ends_unless_it_is_renewed(stores, monkeypatch) -> None:
    one, two = stores
    one.claim([PACK])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + claims.LEASE_SECONDS - 1)
    assert two.claim([PACK]) == [False]
    one.renew()
    monkeypatch.setattr(time, "time", lambda: now + 2 * claims.LEASE_SECONDS - 2)
    assert two.claim([PACK]) == [False]
    monkeypatch.setattr(time, "time", lambda: now + 2 * claims.LEASE_SECONDS)
    assert two.claim([PACK]) == [True]


def test_the_claim_of_a_dead_process_is_void_at_once(stores) -> None:
    one, two = stores
    code = (
        f"from droplab.study.store import Store; from test_claims import PACK\n"
        f"print(Store({str(one.path)!r}).claim([PACK]))"
    )
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": here}, capture_output=True, text=True, check=True
    )
    assert said.stdout == "[True]\n"
    assert two.claim([PACK]) == [True]


def test_an_owner_comes_back_from_its_text_and_only_what_is_known_to_be_dead_is() -> None:
    owner = Owner()
    assert Owner.of(owner.text) == owner
    assert not owner.is_dead
    assert replace(owner, started=owner.started + 1).is_dead, "the number was given to another process"
    assert replace(owner, pid=2**22 + 1).is_dead
    assert not replace(owner, pid=2**22 + 1, host="elsewhere").is_dead
    assert Owner.of(replace(owner, host="a/b").text).host == "a/b"
    for text in ("", "host", "host/x/0/t"):
        with pytest.raises(ValueError, match=r"unpack|int"):
            Owner.of(text)


def test_the_same_study_twice_at_once_trains_each_network_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    monkeypatch.setattr(runner, "WAITING_SECONDS", 0.05)
    plan, path = toy_plan(epochs=20), tmp_path / "store.sqlite"
    watchers, summaries = [Watcher(), Watcher()], {}

    def study(number: int) -> None:
        with Store(path) as store:
            summaries[number] = run_all(plan.runs, toy_dataset(), store, watchers[number], workers=1)

    threads = [threading.Thread(target=study, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sum(one.trained for one in summaries.values()) == len(plan.runs)
    assert all(one.trained + one.reused == len(plan.runs) and not one.interrupted for one in summaries.values())
    assert any("which is waited for" in text for one in watchers for text in one.notices)


def test_what_another_study_gave_up_is_trained_here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    monkeypatch.setattr(runner, "WAITING_SECONDS", 0.05)
    plan, path = toy_plan(epochs=1), tmp_path / "store.sqlite"
    with Store(path) as other, Store(path) as store:
        other.claim([{run.key: Planned(run.way, pack_name(1)) for run in plan.runs}])
        threading.Timer(0.5, other.release).start()
        summary = run_all(plan.runs, toy_dataset(), store, Watcher(), workers=1)
    assert (summary.trained, summary.reused) == (len(plan.runs), 0)
