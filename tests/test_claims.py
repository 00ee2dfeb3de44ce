"""Claims: of two that want to train the same, one does, until it is done, gone, or silent for too long."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from droplab.study import runner
from droplab.study.backends import Here, InProcess
from droplab.study.claims import Owner
from droplab.study.records import Planned
from droplab.study.runner import run_all
from droplab.study.store import Store
from store_help import pack_name
from study_help import Watcher, toy_plan
from toy import toy_dataset


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
