"""The store where another process writes, or writing fails for good: a study goes on, and files all that it can."""

import threading
from collections.abc import Callable

import pytest

from droplab.errors import StoreBusyError, StoreError
from droplab.study import filing
from droplab.study.backends import Here, InProcess
from droplab.study.runner import run_all
from droplab.study.store import Store
from store_help import check_whole, failing, location_of, make_dataset, make_run, make_trained, names_in, wait_for
from study_help import Watcher, toy_plan
from toy import toy_dataset


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    monkeypatch.setattr(filing, "BETWEEN", 0.1)


def hold(store: Store, until: Callable[[], bool]) -> threading.Thread:
    """Have another process write for as long as it takes."""
    held = threading.Event()

    def keep() -> None:
        with Store(location_of(store)) as other, other._database.writing():
            held.set()
            wait_for(until)

    thread = threading.Thread(target=keep)
    thread.start()
    assert held.wait(10)
    return thread


def test_a_store_that_is_busy_says_so(store: Store) -> None:
    over = threading.Event()
    thread = hold(store, over.is_set)
    with pytest.raises(StoreBusyError, match="Another process is writing; try again when it is done"):
        store.save_pack([(make_run(), make_trained(make_run()))], make_dataset(), patience=0.1)
    over.set()
    thread.join()


@pytest.mark.parametrize("until_end", [False, True])
def test_a_study_goes_on_while_the_store_is_busy_and_files_all(store: Store, until_end: bool) -> None:
    plan, watcher, threads = toy_plan(epochs=2), Watcher(), []

    def begin(*_: object) -> None:
        if not threads:
            threads.append(hold(store, all_is_trained if until_end else lambda: bool(watcher.notices)))

    def all_is_trained() -> bool:
        return bool(watcher.notices) and len({run.key for run, _ in watcher.progressed}) == len(plan.runs)

    watcher.at_progress = begin
    summary = run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
    assert (summary.trained, len(check_whole(store))) == (10, 10)
    threads[0].join()
    assert any("waits to be filed, and is tried again" in text for text in watcher.notices)


def test_what_can_never_be_filed_is_an_error_at_the_end_and_the_rest_is_trained(store: Store) -> None:
    plan, watcher = toy_plan(epochs=1), Watcher()
    trained = {run.key for run in plan.runs}
    with (
        failing(store, "BEFORE INSERT ON runs"),
        pytest.raises(StoreError, match="the store cannot be written: in between"),
    ):
        run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
    assert {run.key for run, progress in watcher.progressed if progress.epoch == 1} == trained
    assert store.planned(trained).keys() == trained
    assert store.claimed(trained) == {}


def test_all_runs_whose_weights_are_lost_are_trained_again_in_one_go(store: Store) -> None:
    plan, watcher = toy_plan(epochs=1), Watcher()
    run_all(plan.runs, toy_dataset(), store, Watcher(), workers=1)
    bits = names_in(store, "weights")
    store.files.remove("weights", bits)
    summary = run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
    assert (summary.trained, summary.reused) == (10, 0)
    assert names_in(store, "weights") == bits
    assert len(check_whole(store)) == 10
    assert any(text.startswith("10 runs are damaged in the store and trained again") for text in watcher.notices)
