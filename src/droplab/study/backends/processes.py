"""Training in local processes, over one shared copy of the data, or one mapped file.

A worker is a process and a pipe, and a pipe that ends is a worker that died, at whatever moment. It starts without
data, and gets them with its first pack, and whenever they are others.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
import types
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, parent_process, resource_tracker
from typing import Any, Self

import torch.multiprocessing

from droplab.config import RunSettings
from droplab.errors import DataError, TrainingError
from droplab.study.backends.base import Answer, Backend, OutOfMemoryError, Result, checkpoint_of, cramped, halves, train
from droplab.study.backends.in_process import InProcess
from droplab.study.limits import WORKER_MEMORY, room_for_workers
from droplab.study.packs import Pack
from droplab.study.plan import Run
from droplab.train.checkpoint import Checkpoint, Place
from droplab.train.device import keep_freed_memory
from droplab.train.examples import Examples
from droplab.train.loop import StoppedError
from droplab.train.outcome import Way
from droplab.train.state import Progress

PROGRESS_SECONDS = 0.2
"""How often, at most, a worker tells how far a run is."""

RESTARTS = 3
"""How often in a row workers may die before the study gives up; a finished pack starts the count anew."""

STOP_SECONDS = 5.0
"""How long workers that are told to stop have for their step and a last checkpoint."""

_DEAF = {signal.SIGINT, signal.SIGHUP}  # a terminal sends them to workers, too; what they mean, the parent decides


class Crew:
    """Worker processes that stay from one training to the next, as a context; at its end they are ended.

    Attributes:
        workers: those that there are.
    """

    def __init__(self) -> None:
        self.workers: list[_Worker] = []

    def start(self, count: int) -> None:
        """Have so many, as far as the machine lets them start: they import PyTorch while this process goes on."""
        with suppress(OSError, RuntimeError):
            while len(self.workers) < min(count, _most(self.workers)):
                self.workers.append(_Worker())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        deque(_ending(self.workers), maxlen=0)


class LocalProcesses(Backend):
    """Worker processes that train a pack at a time each.

    Args:
        workers: how many, at least 1.
        crew: where they come from and stay, and start at once; without it, each execution starts and ends its own.
    """

    def __init__(self, workers: int, crew: Crew | None = None) -> None:
        self.workers, self.crew = workers, crew
        if crew:
            crew.start(workers)

    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
        checkpoints: Callable[[str], Place] | None = None,
    ) -> Generator[Result, None, None]:
        """As the contract says. When a worker dies, a new one goes on with its pack.

        Where fewer can be started than asked for, these do it all; where none can, this process does.
        """
        left, workers, deaths = deque(packs), self.crew.workers if self.crew else list[_Worker](), 0
        wanted = min(self.workers, len(packs))
        most = min(wanted, _most(workers))
        lack, shared = f"one takes about {WORKER_MEMORY / 1e6:.0f} MB of memory", None
        try:
            while (left or any(worker.pack for worker in workers)) and not stopping():
                try:
                    shared = shared or _shared(examples, notify)
                    while len(workers) < min(most, len(left) + sum(bool(worker.pack) for worker in workers)):
                        workers.append(_Worker())
                except (OSError, RuntimeError) as error:  # of processes, threads, memory that could be shared
                    most, lack = len(workers), " ".join(str(error).split())
                if most < wanted:
                    wanted = most
                    notify(_fewer(most, lack))
                if not most:
                    yield from InProcess().execute(tuple(left), examples, on_progress, notify, stopping, checkpoints)
                    return
                for worker in workers:
                    if shared and worker.ready and not worker.pack and left:
                        worker.begin(left.popleft(), shared, checkpoints)
                for worker, said in _heard(workers, 0.1):
                    if said is None:
                        worker.ready, worker.began = True, worker.ready
                    elif isinstance(said, Progress):
                        on_progress(worker.pack[said.run], said)
                    elif isinstance(said, list):
                        pack, worker.pack, deaths = worker.pack, (), 0
                        if _too_large(pack, said):
                            notify(cramped(pack))
                            left.extend(halves(pack))
                        else:
                            yield pack, said
                    elif worker.began and not isinstance(said, EOFError):
                        raise said
                    else:
                        workers.remove(worker)
                        worker.end()
                        if worker.pack:
                            left.appendleft(worker.pack)
                        if not worker.began:
                            most, lack = min(most, len(workers)), str(said) or "it ended while it was starting"
                        elif worker.pack and not stopping():
                            deaths += 1
                            _go_on_after(deaths, notify)
            if stopping():
                yield from _ending(workers)
        except KeyboardInterrupt:  # the second Ctrl-C: at once
            for worker in workers:
                worker.pack = ()
            raise
        finally:
            if self.crew is None or any(worker.pack for worker in workers):
                deque(_ending(workers), maxlen=0)


class _Worker:
    """A worker process and the pipe to it.

    Attributes:
        ready: whether it has come so far as to take packs.
        began: whether it has had examples and gone on to its first pack.
        pack: what it trains; empty while it trains nothing.
        examples: those that it has.
    """

    def __init__(self) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.ready, self.began, self.pack = False, False, Pack()
        self.examples: Examples | None = None
        try:
            with spawning():
                self.process.start()
        finally:
            theirs.close()  # so that the pipe ends with the worker

    def begin(self, pack: Pack, examples: Examples, checkpoints: Callable[[str], Place] | None) -> None:
        """Give it a pack to train on shared examples.

        Raises:
            DataError: if a mapped file of the examples is no longer what it was.
        """
        new = None if examples is self.examples else examples
        if new is not None:
            new.check_files()  # a worker that maps a file which has shrunk, dies
        self.pack, self.examples = pack, examples
        try:
            self.pipe.send((new, [run.settings for run in pack], pack[0].way, checkpoint_of(pack, checkpoints)))
        except (OSError, RuntimeError):  # it has just died, or there is no thread to hand the examples over
            self.process.kill()  # the pipe will say so

    def end(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _most(workers: Sequence[_Worker]) -> int:
    """How many there may be: these, and more where the memory has room for them beside those that are starting."""
    return len(workers) + max(0, room_for_workers() - sum(not worker.ready for worker in workers))


def _heard(workers: Sequence[_Worker], seconds: float) -> Iterator[tuple[_Worker, Any]]:
    """What workers say within some time: that they have begun (None), progress, an answer, an error, their end.

    Ends come last, so that what others have finished is not lost where one too many has died.
    """
    ready = connection.wait([worker.pipe for worker in workers], seconds)
    ends = []
    for worker in [worker for worker in workers if worker.pipe in ready]:
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            ends.append(worker)
        else:
            yield worker, said
    yield from ((worker, EOFError()) for worker in ends)


def _ending(workers: list[_Worker]) -> Iterator[Result]:
    """End workers, each after its step and a last checkpoint of its pack; yields what they finish meanwhile."""
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        if worker.pack:
            worker.process.terminate()
    while (busy := [worker for worker in workers if worker.pack]) and (rest := deadline - time.monotonic()) > 0:
        for worker, said in _heard(busy, rest):
            pack, answered = worker.pack, isinstance(said, list)
            if answered or isinstance(said, Exception):
                worker.pack = ()
            if answered and not _too_large(pack, said):
                yield pack, said
    while workers:
        workers.pop().end()


def _shared(examples: Examples, notify: Callable[[str], None]) -> Examples:
    """The examples where workers can share them."""
    shared = examples.share()
    if len(shared.files) > len(examples.files):
        notify("the shared memory (/dev/shm) has no room for the data; workers read them from a mapped file")
    return shared


def _too_large(pack: Pack, answer: Sequence[object]) -> bool:
    return len(pack) > 1 and isinstance(answer[0], OutOfMemoryError)


def _fewer(workers: int, lack: str) -> str:
    """What to say where not all workers can be started."""
    if not workers:
        return f"no worker process can be started ({lack}); one network after another is trained in this process"
    return f"only {workers} worker process{'es' if workers > 1 else ''} can be started ({lack})"


def _go_on_after(deaths: int, notify: Callable[[str], None]) -> None:
    """Say that a worker died; raise if there have been too many."""
    if deaths > RESTARTS:
        raise TrainingError(
            f"worker processes must live through a training; they died {deaths} times in a row, most "
            "likely for want of memory. Everything finished is kept. Try fewer with --workers."
        )
    notify("a worker process died; a new one goes on with its pack")


@contextmanager
def spawning() -> Iterator[None]:
    """What workers inherit: deafness to Ctrl-C and to the end of a terminal, from their first moment; no main module.

    Their threads sleep while they wait for each other: where other programs want the cores, too, two that wait busily
    take ten times as long as one. Without a main module to import again, a study can be run from a script without an
    `if __name__` guard, from standard input or from a notebook: workers need nothing of it. A signal that comes
    meanwhile waits for this process.
    """
    resource_tracker.ensure_running()  # which would let the signals through again
    main, waiting = sys.modules["__main__"], os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = waiting or "PASSIVE"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF)
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if waiting is None:
            del os.environ["OMP_WAIT_POLICY"]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: connection.Connection) -> None:
    """A worker's life: a pack after another; gone when the parent is, and after a step if told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keep_freed_memory()
    with suppress(EOFError, ConnectionError, StoppedError):
        try:
            threading.Thread(target=_die_with_parent, daemon=True).start()
            pipe.send(None)
            while True:
                new, settings, way, checkpoint = pipe.recv()
                if new is not None:
                    examples = new
                    pipe.send(None)
                pipe.send(_answer(settings, way, checkpoint, examples, pipe, stop.is_set))
        except (EOFError, ConnectionError):
            raise
        except (RuntimeError, OSError, MemoryError, DataError) as error:  # no room for a thread, or for the examples
            pipe.send(error)


def _answer(
    settings: Sequence[RunSettings],
    way: Way,
    checkpoint: Checkpoint | None,
    examples: Examples,
    pipe: connection.Connection,
    stopping: Callable[[], bool],
) -> Answer | Exception:
    """What becomes of a pack, with its progress told meanwhile; or the fault of the program that it met."""
    told: dict[int, float] = {}

    def tell(progress: Progress) -> None:
        now = time.monotonic()
        if now - told.get(progress.run, 0) >= PROGRESS_SECONDS or progress.epoch == settings[0].epochs:
            told[progress.run] = now
            pipe.send(progress)

    try:
        return train(settings, examples, way, tell, checkpoint, stopping)
    except OutOfMemoryError as error:
        return [error] * len(settings)
    except (StoppedError, ConnectionError):
        raise
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
