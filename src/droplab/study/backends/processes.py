"""Training in local processes of one thread each, over one shared copy of the data, or one mapped file."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch.multiprocessing

from droplab.config import RunSettings
from droplab.errors import TrainingError
from droplab.study.backends.base import (
    Answer,
    Backend,
    OutOfMemoryError,
    Result,
    checkpoint_of,
    cramped,
    halves,
    train,
)
from droplab.study.packs import Pack
from droplab.study.plan import Run
from droplab.train.checkpoint import Checkpoint
from droplab.train.engine import Progress
from droplab.train.examples import Examples
from droplab.train.outcome import Way

PROGRESS_SECONDS = 0.2
"""How often, at most, a worker tells how far a run is."""

RESTARTS = 3
"""How often in a row workers may die before the study gives up; a finished pack starts the count anew."""


class LocalProcesses(Backend):
    """A pool of worker processes.

    Args:
        workers: how many, at least 1.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
        checkpoints: Path | None = None,
    ) -> Generator[Result, None, None]:
        """As the contract says. When a worker dies, new ones go on with the packs not finished."""
        examples = examples.share()
        left = list(packs)
        deaths = 0
        while left and not stopping():
            examples.check_files()  # a worker that maps a file which has shrunk, dies
            try:
                for pack, answer in self._pool(tuple(left), examples, on_progress, stopping, checkpoints):
                    left.remove(pack)
                    deaths = 0
                    if len(pack) > 1 and isinstance(answer[0], OutOfMemoryError):
                        notify(cramped(pack))
                        left.extend(halves(pack))
                    else:
                        yield pack, answer
            except BrokenProcessPool:
                deaths += 1
                if deaths > RESTARTS:
                    raise TrainingError(
                        f"worker processes must live through a training; they died {deaths} times in a row, most "
                        "likely for want of memory. Everything finished is kept. Try fewer with --workers."
                    ) from None
                notify(f"a worker process died; new ones go on with the {len(left)} trainings left")

    def _pool(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        stopping: Callable[[], bool],
        checkpoints: Path | None,
    ) -> Iterator[Result]:
        """Train with one pool until everything is done, a worker dies, or the user stops."""
        context = torch.multiprocessing.get_context("spawn")
        news: SimpleQueue[tuple[int, Progress]] = context.SimpleQueue()
        pool = ProcessPoolExecutor(self.workers, context, _begin_worker, (examples, news))
        with spawning():
            futures: dict[Future[Answer], Pack] = {
                pool.submit(
                    _train, index, [run.settings for run in pack], pack[0].way, checkpoint_of(pack, checkpoints)
                ): pack
                for index, pack in enumerate(packs)
            }
            workers = list(pool._processes.values())
        try:
            stop = False
            while futures and not stop:
                stop = stopping()  # asked before looking once more, so that what is finished by then is handed over
                done, _ = wait(futures, timeout=0 if stop else 0.1, return_when=FIRST_COMPLETED)
                while not news.empty():
                    index, progress = news.get()
                    on_progress(packs[index][progress.run], progress)
                # What is finished is handed over before a dead worker is noticed: nothing finished is lost.
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    yield futures.pop(future), future.result()
        finally:
            if futures:
                for worker in workers:
                    worker.terminate()
            pool.shutdown(cancel_futures=True)
            news.close()


@contextmanager
def spawning() -> Iterator[None]:
    """What workers inherit: deafness to Ctrl-C from their first moment, and no main module.

    Without a main module to import again, a study can be run from a script without an `if __name__` guard, from
    standard input or from a notebook: workers need nothing of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if in_main_thread:
            signal.signal(signal.SIGINT, before)


_worker: dict[str, Any] = {}


def _begin_worker(examples: Examples, news: SimpleQueue[tuple[int, Progress]]) -> None:
    """Make this process a worker: one thread, deaf to Ctrl-C (the parent decides), gone when the parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _worker.update(examples=examples, news=news)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _train(index: int, settings: Sequence[RunSettings], way: Way, checkpoint: Checkpoint | None) -> Answer:
    told: dict[int, float] = {}

    def tell(progress: Progress) -> None:
        now = time.monotonic()
        if now - told.get(progress.run, 0) >= PROGRESS_SECONDS or progress.epoch == settings[0].epochs:
            told[progress.run] = now
            _worker["news"].put((index, progress))

    try:
        return train(settings, _worker["examples"], way, tell, checkpoint)
    except OutOfMemoryError as error:
        return [error] * len(settings)
