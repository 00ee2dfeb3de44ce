"""Processes that begin as copies of one that has everything imported, and no thread: at once, whatever imports cost."""

import multiprocessing
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock


def forked() -> Any:
    """Their `multiprocessing` context; a test session has one such server, for all that ask."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fuzz.targets", "store_help"])
    search = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    with mock.patch.dict(os.environ, PYTHONPATH=search):
        forkserver.ensure_running()
    return context


class Worker:
    """A process at work, until it is done or killed.

    Args:
        work: called there with `say`, `begin` and the arguments; it says "ready" and then waits to begin.
        arguments: further ones.
    """

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        context = forked()
        self._begin = context.Event()
        self._heard, say = context.Pipe(duplex=False)
        self._said: list[Any] = []
        self._process = context.Process(target=_work, args=(work, say, self._begin, arguments))
        self._process.start()
        say.close()
        assert self._heard.recv() == "ready"

    def begin(self) -> None:
        self._begin.set()

    def hear(self, number: int) -> None:
        """Wait until it has said so much."""
        self._said += [self._heard.recv() for _ in range(number)]

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> tuple[int, list[Any]]:
        """Its exit code, and all that it said."""
        with suppress(EOFError):
            while True:
                self.hear(1)
        self._process.join()
        return self._process.exitcode, self._said


def _work(work: Callable[..., None], say: Any, begin: Any, arguments: tuple[object, ...]) -> None:
    warnings.simplefilter("error")
    work(say.send, begin.wait, *arguments)
