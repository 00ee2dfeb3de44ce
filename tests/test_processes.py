"""Worker processes: whatever dies, the networks come out the same, and nothing is left running."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar
from unittest import mock

import pytest

from droplab.errors import TrainingError
from droplab.study.backends import Here, processes
from droplab.study.backends.base import OutOfMemoryError
from droplab.study.backends.processes import RESTARTS, LocalProcesses
from droplab.study.store import Store
from study_help import (
    FP32,
    LONG,
    Watcher,
    alive,
    bits,
    children,
    direct_bits,
    one_by_one,
    python,
    toy_npz,
    toy_plan,
    wait_until,
)
from toy import toy_examples

EXAMPLES = toy_examples()
work = processes._work


def execute(backend: LocalProcesses, packs: list, watcher: Watcher) -> dict:
    return dict(one_by_one(backend.execute(packs, EXAMPLES, watcher.progress, watcher.notice, lambda: False)))


def test_a_worker_killed_in_mid_run_costs_a_notice_and_no_bit() -> None:
    killed: list[int] = []

    def kill_once(*_: object) -> None:
        if not killed:
            killed.extend(child.pid for child in multiprocessing.active_children())
            os.kill(killed[0], signal.SIGKILL)

    watcher = Watcher(kill_once)
    runs = toy_plan(depths=[3], epochs=300, seeds=1).runs
    results = execute(LocalProcesses(1), [(run,) for run in runs], watcher)
    assert len(killed) == 1
    assert watcher.notices == ["a worker process died; a new one goes on with its pack"]
    assert {run.key: bits(result) for run, result in results.items()} == direct_bits(runs)


class Pretended(processes._Worker):
    """A worker that is no process: it begins, and says of each pack what `answers` has; at its end it dies."""

    answers: ClassVar[Iterator[object]]

    def __init__(self) -> None:
        self.pipe, self.theirs = multiprocessing.Pipe()
        self.process, self.ready, self.began, self.pack = mock.Mock(), False, False, ()
        self.theirs.send(None)

    def begin(self, pack: tuple, *_: object) -> None:
        self.pack = pack
        self.theirs.send(None)
        answer = next(self.answers, None)
        if answer is None:
            self.theirs.close()
        else:
            self.theirs.send([answer] * len(pack))


def pretend(monkeypatch: pytest.MonkeyPatch, answers: Iterable[object]) -> None:
    monkeypatch.setattr(processes, "_Worker", Pretended)
    monkeypatch.setattr(Pretended, "answers", iter(answers), raising=False)


def test_workers_that_always_die_end_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [])
    watcher = Watcher()
    with pytest.raises(TrainingError, match=rf"died {RESTARTS + 1} times in a row.*kept.*--workers"):
        execute(LocalProcesses(2), [toy_plan().runs], watcher)
    assert len(watcher.notices) == RESTARTS


def test_deaths_are_counted_anew_after_each_finished_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = [(run,) for run in toy_plan(seeds=3).runs]
    assert len(packs) > RESTARTS + 1
    pretend(monkeypatch, [answer for _ in packs for answer in (None, TrainingError("a result"))])
    watcher = Watcher()
    assert len(execute(LocalProcesses(1), packs, watcher)) == len(packs)
    assert watcher.notices == ["a worker process died; a new one goes on with its pack"] * len(packs)


def refuse(*_: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def end_at_once(*_: object) -> None:
    os._exit(3)


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


HERE = "; one network after another is trained in this process"


@pytest.mark.parametrize(
    ("broken", "by", "lack"),
    [
        ("multiprocessing.process.BaseProcess.start", refuse, "[Errno 11] Resource temporarily unavailable"),
        ("multiprocessing.process.BaseProcess.start", no_thread, "can't start new thread"),
        ("droplab.study.backends.processes._work", end_at_once, "it ended while it was starting"),
        ("droplab.train.examples.Part.share", refuse, "[Errno 11] Resource temporarily unavailable"),
        ("multiprocessing.resource_sharer.DupFd", no_thread, "it ended while it was starting"),
        ("droplab.study.backends.processes.room_for_workers", lambda: 0, "one takes about 250 MB of memory"),
    ],
)
def test_where_no_worker_can_be_started_this_process_trains_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, broken: str, by: Callable, lack: str
) -> None:
    monkeypatch.setattr(broken, by)
    watcher, runs = Watcher(), toy_plan(depths=[2]).runs
    results = execute(LocalProcesses(2), [(run,) for run in runs], watcher)
    assert watcher.notices[-1] == f"no worker process can be started ({lack}){HERE}"
    assert {run.key: bits(result) for run, result in results.items()} == direct_bits(runs)
    assert multiprocessing.active_children() == []


def test_where_one_worker_can_be_started_it_trains_all(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = multiprocessing.process.BaseProcess.start, []

    def once(self: object) -> None:
        if started:
            refuse()
        started.append(start(self))

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", once)
    watcher, runs = Watcher(), toy_plan(depths=[2]).runs
    assert len(execute(LocalProcesses(2), [(run,) for run in runs], watcher)) == len(runs)
    assert watcher.notices == [
        "only 1 worker process can be started ([Errno 11] Resource temporarily unavailable)",
    ]


def test_a_crew_stays_from_one_training_to_the_next_and_takes_other_examples() -> None:
    runs = toy_plan(depths=[2]).runs
    with processes.Crew() as crew:
        backend = LocalProcesses(2, crew)
        before = {worker.process.pid for worker in crew.workers}
        for examples in (EXAMPLES.fewer(60, 1), EXAMPLES):
            executed = backend.execute([(run,) for run in runs], examples, lambda *_: None, print, lambda: False)
            results = dict(one_by_one(executed))
            assert {worker.process.pid for worker in crew.workers} == before
    assert len(before) == 2
    assert {run.key: bits(result) for run, result in results.items()} == direct_bits(runs)
    assert multiprocessing.active_children() == []


def test_a_crew_starts_no_more_workers_than_the_memory_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are starting do not take theirs yet."""
    pretend(monkeypatch, [])
    monkeypatch.setattr(processes, "room_for_workers", lambda: 3)
    crew = processes.Crew()
    for count, there in ((2, 2), (5, 3)):
        crew.start(count)
        assert len(crew.workers) == there
    for worker in crew.workers:
        worker.ready = True
    crew.start(9)
    assert len(crew.workers) == 6


def test_a_caller_that_goes_away_leaves_nothing_running() -> None:
    packs = [(run,) for run in (*toy_plan(depths=[1]).runs, *toy_plan(epochs=LONG).runs)]
    going = LocalProcesses(1).execute(packs, EXAMPLES, lambda *_: None, print, lambda: False)
    next(going)
    going.close()
    assert multiprocessing.active_children() == []


def test_a_network_too_large_for_memory_is_that_networks_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def cramped(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("droplab.study.backends.base.train_pack", cramped)
    settings = [toy_plan().runs[-1].settings]
    (error,) = processes._answer(settings, FP32, None, EXAMPLES, mock.Mock(), lambda: False)
    assert "must fit into the memory of the cpu; with widths=[16, 8] and batch_size=64" in str(error)


def faulty(*_: object) -> None:
    raise ZeroDivisionError("of its own")


def work_faultily(pipe: object) -> None:
    processes.train = faulty
    work(pipe)


def test_a_fault_of_the_program_in_a_worker_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_work", work_faultily)
    with pytest.raises(ZeroDivisionError) as caught:
        execute(LocalProcesses(1), [(toy_plan().runs[0],)], Watcher())
    assert "of its own" in caught.value.__notes__[0]


@pytest.mark.parametrize("moment", ["while its workers start", "in mid-training"])
def test_workers_do_not_outlive_a_killed_parent(moment: str) -> None:
    code = f"""
from droplab.study.backends.processes import LocalProcesses
from study_help import toy_plan
from toy import toy_examples
packs = [(run,) for run in toy_plan(epochs={LONG}).runs]
told = lambda *_: print("training", flush=True)
list(LocalProcesses(1).execute(packs, toy_examples(), told, print, lambda: False))
"""
    with python("-c", code) as parent:
        if moment == "in mid-training":
            assert parent.stdout.readline() == "training\n"
        else:  # the worker and multiprocessing's resource tracker
            wait_until(lambda: len(children(parent.pid)) == 2, what="the start of the workers")
        family = children(parent.pid)
        parent.kill()
        wait_until(lambda: not any(map(alive, family)), 15, "the end of the workers")


STUDY_SCRIPT = """
import sys
import droplab
from droplab.study import forecast
forecast.WORKER_SECONDS = 0.0
print("once")
droplab.Study.preset("mnist-depth", data=sys.argv[1], depths=[1], seeds=1, epochs=1, batch_size=64).run(
    store=sys.argv[2], precision="fp32"
)
"""


@pytest.mark.parametrize("way", ["script without a main guard", "standard input"])
def test_a_study_can_be_run_from_a(way: str, tmp_path: Path) -> None:
    data, store = toy_npz(tmp_path / "toy.npz"), tmp_path / "store.sqlite"
    script = tmp_path / "study.py"
    script.write_text(STUDY_SCRIPT, "utf-8")
    name = "-" if way == "standard input" else str(script)
    with script.open() as stdin, python(name, data, store, stdin=stdin) as process:
        out, errors = process.communicate(timeout=100)
    assert (process.returncode, out, errors) == (0, "once\n", "")
    with Store(store) as opened:
        assert len(opened.summaries()) == 1


@pytest.mark.parametrize(("workers", "runs", "expected"), [(3, 9, 3), (9, 2, 2), (1, 5, 1)])
def test_there_are_never_more_workers_than_asked_for_or_than_runs(workers: int, runs: int, expected: int) -> None:
    assert Here().workers(FP32, workers, runs) == expected


def test_unasked_there_is_a_worker_a_core() -> None:
    assert Here().workers(FP32, None, 1000) == len(os.sched_getaffinity(0))


def test_a_pack_too_large_for_memory_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    result = TrainingError("a result")
    pretend(monkeypatch, [OutOfMemoryError("too large"), result, result])
    watcher, runs = Watcher(), toy_plan(depths=[2], dropout=[], seeds=3).runs
    answers = LocalProcesses(1).execute([runs], EXAMPLES, watcher.progress, watcher.notice, lambda: False)
    assert [[run.key for run in pack] for pack, _ in answers] == [[runs[0].key], [runs[1].key, runs[2].key]]
    assert watcher.notices == ["3 networks do not fit into memory together; they are trained in smaller packs"]
