"""The contract of a backend: one suite that each inherits."""

import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from droplab.data.disk import KeptFile
from droplab.errors import TrainingError
from droplab.study.backends import InProcess, LocalProcesses
from droplab.study.backends.base import Backend
from droplab.study.backends.ray import OnRay
from droplab.study.packs import Pack, pack_name, with_way
from droplab.train.loop import train_pack
from study_help import LONG, Watcher, bits, direct_bits, one_by_one, toy_plan
from toy import toy_examples

EXAMPLES = toy_examples()
WRECK = toy_plan(learning_rate=1e30, depths=[3], dropout=[], seeds=1).runs
SOUND = toy_plan(seeds=2).runs


def never() -> bool:
    return False


class BackendContract:
    """What every backend does. A subclass says which."""

    backend: ClassVar[Backend]

    @pytest.fixture(scope="class")
    @classmethod
    def watched(cls) -> Watcher:
        """One execution of a few sound packs and one that diverges; the tests look at what came of it."""
        watcher = Watcher(lambda *_: threads.add(threading.current_thread()))
        threads: set[threading.Thread] = set()
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        packs: list[Pack] = [WRECK, *((run,) for run in SOUND[2:]), SOUND[:2]]
        for result in one_by_one(cls.backend.execute(packs, EXAMPLES, watcher.progress, watcher.notice, never)):
            watcher.finished(*result)
        assert threads == {threading.current_thread()}
        assert torch.get_num_threads() == 3
        torch.set_num_threads(before)
        return watcher

    def test_every_run_is_yielded_exactly_once(self, watched: Watcher) -> None:
        keys = [run.key for run, _ in watched.results]
        assert sorted(keys) == sorted(run.key for run in (*WRECK, *SOUND))
        assert watched.notices == []

    def test_a_network_has_the_bits_of_train_pack_called_directly(self, watched: Watcher) -> None:
        sound = {run.key for run in SOUND}
        assert {run.key: bits(result) for run, result in watched.results if run.key in sound} == direct_bits(SOUND)

    def test_a_diverging_run_is_yielded_as_its_error_and_the_others_go_on(self, watched: Watcher) -> None:
        failed = {run.key: result for run, result in watched.results if isinstance(result, TrainingError)}
        assert set(failed) == {run.key for run in WRECK}
        assert "learning_rate=1e+30" in str(failed[WRECK[0].key])

    def test_a_pack_is_trained_by_as_many_threads_as_its_way_says(self) -> None:
        packs = [
            with_way((run,), replace(run.way, threads=threads)) for run, threads in zip(SOUND, (2, 1), strict=False)
        ]
        executed = one_by_one(self.backend.execute(packs, EXAMPLES, lambda *_: None, print, never))
        trained = {run.way.threads: result.outcome.environment["threads"] for run, result in executed}
        assert trained == {1: 1, 2: 2}

    def test_progress_of_every_run_is_told_up_to_its_last_epoch(self, watched: Watcher) -> None:
        last = {run.key: progress.epoch for run, progress in watched.progressed}
        assert {run.key for run in SOUND} == {key for key, epoch in last.items() if epoch == 3}

    def test_a_stop_hands_over_what_is_finished_and_returns(self) -> None:
        short, long = toy_plan(depths=[1]).runs, toy_plan(depths=[3], epochs=LONG, seeds=4).runs
        done: list[str] = []
        asked = time.monotonic()
        packs = [(short[0],), (short[1],), *((run,) for run in long)]
        executed = self.backend.execute(packs, EXAMPLES, lambda *_: None, print, lambda: len(done) > 1)
        for run, result in one_by_one(executed):
            assert not isinstance(result, TrainingError)
            done.append(run.key)
            asked = time.monotonic()
        assert sorted(done) == sorted(run.key for run in short)
        assert time.monotonic() - asked < 10
        assert multiprocessing.active_children() == []

    def test_what_a_stop_leaves_under_way_goes_on_from_its_last_step(self, tmp_path: Path) -> None:
        (run,) = toy_plan(depths=[1], epochs=LONG, dropout=[], seeds=1).runs
        reached = 0

        def kept(name: str) -> KeptFile:
            return KeptFile(tmp_path / f"{name}.safetensors")

        for _ in range(2):
            watcher = Watcher()
            told = watcher.progressed
            executed = self.backend.execute(
                [(run,)], EXAMPLES, watcher.progress, print, lambda told=told: bool(told), kept
            )
            assert list(executed) == []
            assert told[0][1].epoch > reached
            reached = told[-1][1].epoch
            assert [path.name for path in tmp_path.iterdir()] == [f"{pack_name((run,))}.safetensors"]


class TestInProcess(BackendContract):
    backend = InProcess()

    def test_a_pack_that_does_not_fit_into_memory_is_halved_and_it_is_said(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cramped(settings: list, *arguments: object) -> list:
            if len(settings) > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            if settings[0].seed == 2:
                raise MemoryError
            return train_pack(settings, *arguments)

        monkeypatch.setattr("droplab.study.backends.base.train_pack", cramped)
        watcher = Watcher()
        pack = toy_plan(depths=[2], dropout=[], seeds=4).runs
        results = dict(one_by_one(self.backend.execute([pack], EXAMPLES, watcher.progress, watcher.notice, never)))
        assert [run.settings.seed for run in results] == [0, 1, 2, 3]
        assert [isinstance(result, TrainingError) for result in results.values()] == [False, False, True, False]
        assert "must fit into the memory" in str(results[pack[2]])
        assert "smaller packs" in watcher.notices[0]
        assert len(watcher.notices) == 3

    def test_a_fault_of_the_program_is_not_taken_for_want_of_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def faulty(*_: object) -> list:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        monkeypatch.setattr("droplab.study.backends.base.train_pack", faulty)
        with pytest.raises(RuntimeError, match="mat1"):
            list(self.backend.execute([SOUND[:1]], EXAMPLES, lambda *_: None, print, never))


class TestOneProcess(BackendContract):
    backend = LocalProcesses(1)


class TestTwoProcesses(BackendContract):
    backend = LocalProcesses(2)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
class TestRay(BackendContract):
    backend = OnRay(2)
