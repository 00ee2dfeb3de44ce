"""Worker processes: whatever dies, the networks come out the same, and nothing is left running."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from droplab.errors import TrainingError
from droplab.study.backends import processes, worker_count
from droplab.study.backends.base import OutOfMemoryError
from droplab.study.backends.processes import RESTARTS, LocalProcesses
from droplab.study.store import Store
from study_help import FP32, LONG, Watcher, alive, bits, direct_bits, one_by_one, python, toy_npz, toy_plan, wait_until
from toy import toy_examples

EXAMPLES = toy_examples()


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
    assert watcher.notices == ["a worker process died; new ones go on with the 2 trainings left"]
    assert {run.key: bits(result) for run, result in results.items()} == direct_bits(runs)


def breaking(finished_before_death: int):
    """A pool that finishes some packs, then breaks: what the death of a worker looks like from inside."""

    def pool(self: object, packs: tuple, *_: object) -> Iterator:
        for pack in packs[:finished_before_death]:
            yield pack, [TrainingError("a result")] * len(pack)
        if len(packs) > finished_before_death:
            raise BrokenProcessPool

    return pool


def test_workers_that_always_die_end_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalProcesses, "_pool", breaking(0))
    watcher = Watcher()
    with pytest.raises(TrainingError, match=rf"died {RESTARTS + 1} times in a row.*kept.*--workers"):
        execute(LocalProcesses(2), [toy_plan().runs], watcher)
    assert len(watcher.notices) == RESTARTS


def test_deaths_are_counted_anew_after_each_finished_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalProcesses, "_pool", breaking(1))
    packs = [(run,) for run in toy_plan(seeds=3).runs]
    assert len(packs) > RESTARTS + 1
    watcher = Watcher()
    assert len(execute(LocalProcesses(2), packs, watcher)) == len(packs)
    assert len(watcher.notices) == len(packs) - 1


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
    monkeypatch.setitem(processes._worker, "examples", EXAMPLES)
    (error,) = processes._train(0, [toy_plan().runs[-1].settings], FP32, None)
    assert "must fit into the memory of the cpu; with widths=[16, 8] and batch_size=64" in str(error)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text("utf-8").split()]


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
print("once")
droplab.Study.preset("mnist-depth-quick", data=sys.argv[1], depths=[1], seeds=1, epochs=1, batch_size=64).run(
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
    assert worker_count(FP32, workers, runs) == expected


def test_unasked_there_is_a_worker_a_core() -> None:
    assert worker_count(FP32, None, 1000) == len(os.sched_getaffinity(0))


def test_a_pack_too_large_for_memory_is_halved_and_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer of the worker says so; a pool is then given the halves."""
    real, asked = LocalProcesses._pool, []

    def pool(self: LocalProcesses, packs: tuple, *arguments: object) -> Iterator:
        asked.append([len(pack) for pack in packs])
        if len(asked) == 1:
            yield packs[0], [OutOfMemoryError("too large")] * len(packs[0])
        else:
            yield from real(self, packs, *arguments)

    monkeypatch.setattr(LocalProcesses, "_pool", pool)
    watcher, runs = Watcher(), toy_plan(depths=[2], dropout=[], seeds=3).runs
    results = execute(LocalProcesses(1), [runs], watcher)
    assert asked == [[3], [1, 2]]
    assert watcher.notices == ["3 networks do not fit into memory together; they are trained in smaller packs"]
    assert {run.key: bits(result) for run, result in results.items()} == direct_bits(runs)
